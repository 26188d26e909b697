// Ethernet and what it carries beside IP.

/// EtherTypes (IEEE 802).
enum bit<16> ether_type_t {
    IPV4 = 0x0800,
    ARP  = 0x0806,
    VLAN = 0x8100,
    IPV6 = 0x86dd
}

/// Ethernet II.
header ethernet_h {
    bit<48>      destination;
    bit<48>      source;
    bit<16>      ether_type;
}

/// An 802.1Q tag: it stands behind the source address, and the EtherType before it says VLAN.
header vlan_h {
    bit<3>       pcp;
    bit<1>       dei;
    bit<12>      vid;
    bit<16>      ether_type;
}

/// ARP for IPv4 over Ethernet (RFC 826).
header arp_h {
    bit<16>      hardware;
    bit<16>      protocol;
    bit<8>       hardware_bytes;
    bit<8>       protocol_bytes;
    bit<16>      operation;
    bit<48>      sender_mac;
    bit<32>      sender_ip;
    bit<48>      target_mac;
    bit<32>      target_ip;
}

const bit<16> ARP_ETHERNET = 1;
const bit<16> ARP_REQUEST  = 1;
const bit<16> ARP_REPLY    = 2;
