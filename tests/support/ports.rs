//! Ports for servers that listen later, or again after an outage. They lie outside of those that the system gives to clients
//! (`ip_local_port_range`): of the latter one that is free now may soon be a connection's, even that of a client which asks for the
//! absent server so often that it is given the server's own port, and talks to itself from there.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{TcpListener, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};

/// A port on which nobody listens, over TCP or UDP, and that this process has not been given before.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let range = range();
    let count = u64::from(range.end() - range.start()) + 1;
    for _ in 0..100_000 {
        // At random: other processes look for ports as well.
        let port = range.start() + (RandomState::new().build_hasher().finish() % count) as u16;
        let everywhere = ("0.0.0.0", port);
        if !given.contains(&port)
            && TcpListener::bind(everywhere).is_ok()
            && UdpSocket::bind(everywhere).is_ok()
        {
            given.insert(port);
            return port;
        }
    }
    panic!("no port in {range:?} is free");
}

/// The ports that no client is given unasked, without the lowest, which well-known servers have.
fn range() -> RangeInclusive<u16> {
    let said = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let numbers: Vec<u16> = said.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    match numbers[..] {
        [first, _] if first >= 14_000 => 12_000..=first - 1,
        [_, last] if last <= 63_000 => last + 1..=u16::MAX,
        // All are the clients', or nobody says which.
        _ => 12_000..=32_767,
    }
}
