// IP, ICMP and UDP.

/// IP protocols (IANA).
enum bit<8> protocol_t {
    ICMP  = 1,
    UDP   = 17,
    ICMP6 = 58
}

/// IPv4 without options (RFC 791, 2474, 3168).
header ipv4_h {
    bit<4>       version;
    bit<4>       ihl;
    bit<6>       dscp;
    bit<2>       ecn;
    bit<16>      total_length;
    bit<16>      identification;
    bit<1>       reserved;
    bit<1>       dont_fragment;
    bit<1>       more_fragments;
    bit<13>      fragment_offset;
    bit<8>       ttl;
    bit<8>       protocol;
    bit<16>      checksum;
    bit<32>      source;
    bit<32>      destination;
}

/// IPv6 (RFC 8200).
header ipv6_h {
    bit<4>       version;
    bit<6>       dscp;
    bit<2>       ecn;
    bit<20>      flow_label;
    bit<16>      payload_length;
    bit<8>       next_header;
    bit<8>       hop_limit;
    bit<128>     source;
    bit<128>     destination;
}

/// ICMP and ICMPv6 (RFC 792, 4443); `rest` is identifier and sequence number of an echo, flags of an advertisement.
header icmp_h {
    bit<8>       kind;
    bit<8>       code;
    bit<16>      checksum;
    bit<32>      rest;
}

/// What a neighbour solicitation or advertisement is about (RFC 4861 §4.3, §4.4).
header neighbor_h {
    bit<128>     target;
}

/// A link-layer address option (RFC 4861 §4.6.1); `eights` is its length in units of 8 bytes.
header link_address_h {
    bit<8>       kind;
    bit<8>       eights;
    bit<48>      mac;
}

/// UDP (RFC 768).
header udp_h {
    bit<16>      source_port;
    bit<16>      destination_port;
    bit<16>      length;
    bit<16>      checksum;
}

const bit<8>   ICMP_ECHO_REPLY        = 0;
const bit<8>   ICMP_ECHO_REQUEST      = 8;
const bit<8>   ICMP6_ECHO_REQUEST     = 128;
const bit<8>   ICMP6_ECHO_REPLY       = 129;
const bit<8>   NEIGHBOR_SOLICITATION  = 135;
const bit<8>   NEIGHBOR_ADVERTISEMENT = 136;
const bit<8>   SOURCE_LINK_ADDRESS    = 1;
const bit<8>   TARGET_LINK_ADDRESS    = 2;
/// Solicited, and override (RFC 4861 §4.4).
const bit<32>  ADVERTISEMENT_FLAGS    = 0x60000000;
/// Neighbour discovery crosses no router (RFC 4861 §7.1).
const bit<8>   HOP_LIMIT_LINK         = 255;
const bit<8>   HOP_LIMIT              = 64;
/// The first 96 bits of an IPv4 address written as an IPv6 one (RFC 4291 §2.5.5.2).
const bit<96>  V4_MAPPED              = 0xffff;
/// Every node of the link, and its Ethernet address (RFC 4291 §2.7.1, RFC 2464 §7).
const bit<128> ALL_NODES              = 0xff020000000000000000000000000001;
const bit<48>  ALL_NODES_MAC          = 0x333300000001;
/// Congestion experienced, and a sender that understands it (RFC 3168 §5).
const bit<2>   ECN_CE                 = 3;
const bit<2>   ECN_ECT0               = 2;
