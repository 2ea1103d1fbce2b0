//! Addresses to listen on: those of a name, in the resolver's order, or of a network interface. std's resolver cannot
//! be asked for wildcard addresses and does not report failures in the resolver's own words, which operators see.
//!
//! `net::bind` calls it, once per entry of the listen list, and `admin::bind`. It may block (DNS), at start-up only.
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

/// Returns every address of `host` (`None`: all interfaces) with `port`. A name that the resolver does not know may be
/// that of a network interface, which stands for the addresses that it has now. The port is passed to the resolver
/// unchanged, which refuses or wraps an out-of-range number. The error is the resolver's text.
pub fn listen_addresses(host: Option<&str>, port: i32, kind: SocketKind) -> Result<Vec<SocketAddr>, String> {
    resolve(host, port, kind).or_else(|text| {
        let (Some(name), Ok(port)) = (host, u16::try_from(port)) else { return Err(text) };
        match interface_addresses(name, port) {
            None => Err(text),
            Some(addresses) if addresses.is_empty() => Err(format!("network interface {name} has no address")),
            Some(addresses) => Ok(addresses),
        }
    })
}

fn resolve(host: Option<&str>, port: i32, kind: SocketKind) -> Result<Vec<SocketAddr>, String> {
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
        // SAFETY: a node's address is of its family.
        addresses.extend(unsafe { address(node.ai_family, node.ai_addr) });
        next = node.ai_next;
    }
    // SAFETY: `list` came from getaddrinfo; no reference into it is left.
    unsafe { libc::freeaddrinfo(list) };
    Ok(addresses)
}

/// Addresses of the network interface `name`, those of link-local scope with its index. `None` if there is none.
fn interface_addresses(name: &str, port: u16) -> Option<Vec<SocketAddr>> {
    let mut list = ptr::null_mut();
    // SAFETY: `list` is valid for writing a pointer.
    if unsafe { libc::getifaddrs(&mut list) } != 0 {
        return None;
    }
    let (mut found, mut addresses) = (false, Vec::new());
    let mut next = list;
    while !next.is_null() {
        // SAFETY: `next` is a node of the list that getifaddrs made, which is freed only below.
        let node = unsafe { &*next };
        // SAFETY: a node's name is a string that ends in NUL.
        if unsafe { CStr::from_ptr(node.ifa_name) }.to_bytes() == name.as_bytes() {
            found = true;
            if !node.ifa_addr.is_null() {
                // SAFETY: every socket address begins with its family.
                let family = i32::from(unsafe { node.ifa_addr.read_unaligned() }.sa_family);
                // SAFETY: the address is of the family that it names.
                addresses.extend(unsafe { address(family, node.ifa_addr) });
            }
        }
        next = node.ifa_next;
    }
    // SAFETY: `list` came from getifaddrs; no reference into it is left.
    unsafe { libc::freeifaddrs(list) };
    addresses.iter_mut().for_each(|address| address.set_port(port));
    found.then_some(addresses)
}

/// The IP address at `address`; `None` for other families.
///
/// # Safety
/// `address` points to a socket address of `family`.
unsafe fn address(family: libc::c_int, address: *const libc::sockaddr) -> Option<SocketAddr> {
    match family {
        libc::AF_INET => {
            // SAFETY: an AF_INET address is a sockaddr_in; the read does not assume alignment.
            let a = unsafe { address.cast::<libc::sockaddr_in>().read_unaligned() };
            let ip = Ipv4Addr::from(u32::from_be(a.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(a.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: an AF_INET6 address is a sockaddr_in6; the read does not assume alignment.
            let a = unsafe { address.cast::<libc::sockaddr_in6>().read_unaligned() };
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

    #[test]
    fn an_interface_stands_for_its_addresses() {
        let all = interface_addresses("lo", 80).unwrap();
        assert!(all.contains(&"127.0.0.1:80".parse().unwrap()), "{all:?}");
        assert!(all.iter().all(|address| address.port() == 80));
        assert_eq!(interface_addresses("no such interface", 80), None);
    }
}
