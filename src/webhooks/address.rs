//! Which addresses are the public internet's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What is not public of IPv4: the first address of each network, and how many of its bits count.
/// By IANA's registry of special-purpose addresses, and what it says of groups.
const NOT_PUBLIC_V4: [(Ipv4Addr, u32); 15] = [
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    // Behind a carrier's NAT.
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // Link-local: where clouds have their metadata.
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    // Relays of 6to4.
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// All of IPv6 that is given to the public; what is not in it is loopback, link-local,
/// unique-local, multicast, or stands for an IPv4 address (`::ffff:0:0/96`, `64:ff9b::/96`).
const PUBLIC_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// What is not public of that.
const NOT_PUBLIC_V6: [(Ipv6Addr, u32); 4] = [
    // Of protocols: Teredo, which stands for IPv4 addresses, and benchmarks among them.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    // 6to4: stands for an IPv4 address.
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Whether an address is one of the public internet, so that a request to it reaches nobody who
/// trusts this machine for where it stands. Not public are private, shared (CGNAT), loopback,
/// link-local, unique-local, multicast, unspecified, reserved and documentation addresses, and all
/// forms of IPv6 that stand for an IPv4 address.
///
/// ```
/// use limitry::webhooks::is_public;
///
/// assert!(is_public("93.184.216.34".parse()?));
/// for address in ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "::ffff:93.184.216.34"] {
///     assert!(!is_public(address.parse()?));
/// }
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !NOT_PUBLIC_V4.iter().any(|(of, bits)| {
            let differs = address.to_bits() ^ of.to_bits();
            differs.leading_zeros() >= *bits
        }),
        IpAddr::V6(address) => {
            let is_in = |(of, bits): &(Ipv6Addr, u32)| {
                let differs = address.to_bits() ^ of.to_bits();
                differs.leading_zeros() >= *bits
            };
            is_in(&PUBLIC_V6) && !NOT_PUBLIC_V6.iter().any(is_in)
        }
    }
}

/// Whether a host's name is one that no public server has.
pub(super) fn is_local_name(host: &str) -> bool {
    const LOCAL: [&str; 5] = ["localhost", "local", "internal", "home.arpa", "localdomain"];
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    LOCAL.iter().any(|local| {
        let above = host.strip_suffix(local);
        above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_every_network_are_told_apart() {
        let public = "1.0.0.0 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 \
            126.255.255.255 128.0.0.0 169.253.255.255 169.255.0.0 172.15.255.255 \
            172.32.0.0 192.0.1.0 192.0.3.0 192.167.255.255 192.169.0.0 \
            198.17.255.255 198.20.0.0 223.255.255.255 2001:200:: 2001:db7:ffff:: \
            2001:db9:: 2003:: 2606:4700::1111 3fff:1000::";
        let private = "0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 \
            100.127.255.255 127.0.0.1 127.255.255.255 169.254.0.0 169.254.169.254 \
            172.16.0.0 172.31.255.255 192.0.0.8 192.0.2.1 192.88.99.1 192.168.0.0 \
            192.168.255.255 198.18.0.0 198.19.255.255 198.51.100.7 203.0.113.7 \
            224.0.0.0 239.255.255.255 240.0.0.0 255.255.255.255 :: ::1 ::7f00:1 \
            ::ffff:127.0.0.1 ::ffff:93.184.216.34 64:ff9b::5db8:d822 64:ff9b:1::1 \
            100::1 2001::1 2001:2::1 2001:1ff:ffff:: 2001:db8::1 2002:7f00:1:: \
            3fff::1 4000:: fc00::1 fdff::1 fe80::1 fec0::1 ff02::1";
        for (list, expected) in [(public, true), (private, false)] {
            for text in list.split(' ') {
                let address: IpAddr = text.parse().expect("an address");
                assert_eq!(is_public(address), expected, "{text}");
            }
        }
    }

    #[test]
    fn local_names_are_known_in_any_form() {
        for name in
            ["localhost", "LOCALHOST.", "a.localhost", "metadata.google.internal", "x.local"]
        {
            assert!(is_local_name(name), "{name}");
        }
        for name in ["example.com", "notlocalhost", "local.example.com", "internal.io"] {
            assert!(!is_local_name(name), "{name}");
        }
    }
}
