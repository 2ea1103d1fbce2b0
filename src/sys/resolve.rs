//! Addresses to listen on, in the resolver's order. std's resolver cannot be asked for wildcard addresses and does
//! not report failures in the resolver's own words, which operators see.
//!
//! `net::bind` calls it, once per entry of the listen list. It may block (DNS), at start-up only.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ptr;

/// Use of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketKind {
    /// Connections.
    Stream,
    /// Datagrams.
    Datagram,
}

/// Returns every address of `host` (`None`: all interfaces) with `port`. The port is passed to the resolver
/// unchanged, which refuses or wraps an out-of-range number. The error is the resolver's text.
pub fn listen_addresses(host: Option<&str>, port: i32, kind: SocketKind) -> Result<Vec<SocketAddr>, String> {
    // Arguments come from the command line, which cannot carry a NUL.
    let host = host.map(CString::new).transpose().map_err(|e| e.to_string())?;
    let port = CString::new(port.to_string()).map_err(|e| e.to_string())?;
    // SAFETY: addrinfo is plain data for which all zeroes is "no constraint".
    let mut hints: libc::addrinfo = unsafe { std::mem::zeroed() };
    hints.ai_flags = libc::AI_PASSIVE;
    hints.ai_family = libc::AF_UNSPEC;
    hints.ai_socktype = match kind {
        SocketKind::Stream => libc::SOCK_STREAM,
        SocketKind::Datagram => libc::SOCK_DGRAM,
    };
    let mut list = ptr::null_mut();
    let host = host.as_deref().map_or(ptr::null(), CStr::as_ptr);
    // SAFETY: the strings end in NUL or are null, `hints` is initialised, `list` is valid for writing a pointer.
    let failed = unsafe { libc::getaddrinfo(host, port.as_ptr(), &hints, &mut list) };
    if failed == libc::EAI_SYSTEM {
        return Err(super::error_text(&io::Error::last_os_error()));
    }
    if failed != 0 {
        // SAFETY: gai_strerror returns a static string for every number.
        return Err(unsafe { CStr::from_ptr(libc::gai_strerror(failed)) }.to_string_lossy().into_owned());
    }
    let mut addresses = Vec::new();
    let mut next = list;
    while !next.is_null() {
        // SAFETY: `next` is a node of the list that getaddrinfo made, which is freed only below.
        let node = unsafe { &*next };
        addresses.extend(address(node));
        next = node.ai_next;
    }
    // SAFETY: `list` came from getaddrinfo; no reference into it is left.
    unsafe { libc::freeaddrinfo(list) };
    Ok(addresses)
}

fn address(node: &libc::addrinfo) -> Option<SocketAddr> {
    match node.ai_family {
        libc::AF_INET => {
            // SAFETY: an AF_INET node's address is a sockaddr_in; the read does not assume alignment.
            let a = unsafe { node.ai_addr.cast::<libc::sockaddr_in>().read_unaligned() };
            let ip = Ipv4Addr::from(u32::from_be(a.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(a.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: an AF_INET6 node's address is a sockaddr_in6; the read does not assume alignment.
            let a = unsafe { node.ai_addr.cast::<libc::sockaddr_in6>().read_unaligned() };
            let ip = Ipv6Addr::from(a.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(ip, u16::from_be(a.sin6_port), a.sin6_flowinfo, a.sin6_scope_id).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_need_no_resolver() {
        let one = |host, port| listen_addresses(Some(host), port, SocketKind::Stream);
        assert_eq!(one("127.0.0.1", 80).unwrap(), ["127.0.0.1:80".parse().unwrap()]);
        assert_eq!(one("::1", 80).unwrap(), ["[::1]:80".parse().unwrap()]);
        assert_eq!(one("127.0.0.1", 70000).unwrap()[0].port(), 4464);
    }

    #[test]
    fn no_host_is_every_interface() {
        let all = listen_addresses(None, 0, SocketKind::Datagram).unwrap();
        assert!(!all.is_empty() && all.iter().all(|a| a.ip().is_unspecified()));
    }

    #[test]
    fn errors_are_in_the_resolvers_words() {
        let text = listen_addresses(None, -2, SocketKind::Stream).unwrap_err();
        assert_eq!(text, "Servname not supported for ai_socktype");
    }
}
