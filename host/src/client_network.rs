//! The network of a client: one IPv4 address, or one IPv6 /64 network. The limits for each client apply to a network.

use std::net::{IpAddr, Ipv6Addr};

/// Returns the address that identifies a client in limits. For IPv6, this is the address of the /64 network, because a provider usually assigns
/// at least a whole /64 network to one customer.
pub fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_clients_are_counted_per_network() {
        let one = network("2001:db8::1".parse().unwrap());
        assert_eq!(one, network("2001:db8::2".parse().unwrap()));
        assert_ne!(one, network("2001:db8:0:1::1".parse().unwrap()));
        assert_eq!(
            network("::ffff:10.0.0.1".parse().unwrap()),
            IpAddr::from([10, 0, 0, 1])
        );
    }
}
