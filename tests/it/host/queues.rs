//! `-N`: threads by the receive queue of the network card. Two network namespaces with a virtual card of two queues
//! between them stand for two machines.

use super::harness::Place;
use std::process::{Command, Stdio};

fn run(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace();
    let mut command = Command::new(words.next().unwrap());
    command.args(words).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The two machines; they go at the end.
struct Machines {
    server: String,
    client: String,
}

impl Machines {
    /// `None`, with a line, where the test may not make them.
    fn new() -> Option<Self> {
        let [server, client] = ["s", "c"].map(|name| format!("oxcached-{}{name}", std::process::id()));
        let machines = Self { server, client };
        let (s, c) = (&machines.server, &machines.client);
        let queues = "numrxqueues 2 numtxqueues 2";
        let steps = [
            format!("ip netns add {s}"),
            format!("ip netns add {c}"),
            format!("ip link add card0 netns {s} {queues} type veth peer name card1 netns {c} {queues}"),
            format!("ip -n {s} addr add 10.9.9.1/24 dev card0"),
            format!("ip -n {c} addr add 10.9.9.2/24 dev card1"),
            format!("ip -n {s} link set card0 up"),
            format!("ip -n {c} link set card1 up"),
            format!("ip -n {s} link set lo up"),
            // Packets come through queues with ids of their own.
            format!("ip netns exec {s} ethtool -K card0 gro on"),
            format!("ip netns exec {c} ethtool -K card1 tso off"),
        ];
        match steps.iter().find(|step| !run(step)) {
            None => Some(machines),
            Some(step) => {
                println!("skipped: cannot run {step}");
                None
            }
        }
    }

    /// The reply to `stats` on a new connection from `namespace`.
    fn stats(namespace: &str, address: &str) -> String {
        let talk = format!("exec 3<>/dev/tcp/{address}; printf 'stats\\r\\nquit\\r\\n' >&3; cat <&3");
        let words = ["netns", "exec", namespace, "timeout", "20", "bash", "-c", &talk];
        let output = Command::new("ip").args(words).stderr(Stdio::inherit()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        run(&format!("ip netns del {}", self.server));
        run(&format!("ip netns del {}", self.client));
    }
}

fn count(stats: &str, name: &str) -> u64 {
    let row = stats.lines().find_map(|line| line.strip_prefix(&format!("STAT {name} ")));
    row.unwrap_or_else(|| panic!("{name} in {stats}")).parse().unwrap()
}

#[test]
fn local_clients_have_no_queue() {
    let place = Place::new();
    let server = place.serve("-N 2");
    let stats = server.ask("stats\r\n", "END\r\n");
    assert_eq!((count(&stats, "round_robin_fallback"), count(&stats, "unexpected_napi_ids")), (1, 0));
    assert_eq!(server.stop(), "");
}

#[test]
fn clients_of_two_queues_get_a_worker_each() {
    let Some(machines) = Machines::new() else { return };
    for (threads, more_queues_than_threads) in [(2, false), (1, true)] {
        let place = Place::new();
        let words = ["ip", "netns", "exec", &machines.server].map(str::to_owned);
        let args = format!("-l 10.9.9.1 -t {threads} -N {threads}");
        let server = place.start(place.run(words.into_iter().chain(place.words(&args))));
        // Each connection has a port of its own, by which the card chooses the queue.
        let address = format!("10.9.9.1/{}", server.port);
        let stats = (0..24).map(|_| Machines::stats(&machines.client, &address)).reduce(|_, last| last).unwrap();
        let (fallback, unexpected) = (count(&stats, "round_robin_fallback"), count(&stats, "unexpected_napi_ids"));
        assert_eq!((fallback, unexpected > 0), (0, more_queues_than_threads), "{threads}: {unexpected}");
    }
}
