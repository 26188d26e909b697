// Every packet's way through the card, in the three blocks of the Portable NIC Architecture: what arrives is parsed, matched and
// answered, dropped, punted or handed to the transport; what the transport sends gets its lower headers. The RC state machine,
// the bytes behind the headers and their ICRC are the transport's.

#include <core.p4>
#include <pna.p4>
#include "parts/link.p4"
#include "parts/ip.p4"
#include "parts/roce.p4"

/// Addresses of the card itself.
#define LOCAL_ADDRESSES 256
/// Entries of all access lists together.
#define ACCESS_ENTRIES 4096
/// QPs of all lcores together.
#define QPS 1048576
/// Tenants.
#define TENANTS 4096
/// Next hops that an operator has set by hand.
#define NEIGHBORS 4096

/// What becomes of a packet.
enum bit<8> verdict_t {
    DROP      = 0,
    TRANSPORT = 1,
    ANSWER    = 2,
    PUNT      = 3,
    SEND      = 4
}

/// Why a packet is dropped; also the counter's index.
enum bit<8> drop_t {
    NONE      = 0,
    MALFORMED = 1,
    NOT_LOCAL = 2,
    DENIED    = 3,
    NO_QP     = 4,
    THROTTLED = 5,
    OPCODE    = 6
}

/// Why control gets to see a packet.
enum bit<8> punt_t {
    NONE       = 0,
    MANAGEMENT = 1,
    ACCESS     = 2
}

/// What an opcode asks of the transport.
enum bit<8> class_t {
    NONE        = 0,
    REQUEST     = 1,
    RESPONSE    = 2,
    ACKNOWLEDGE = 3,
    DATAGRAM    = 4,
    CONGESTION  = 5
}

error {
    Ipv4Header,
    Ipv4Options,
    Ipv4Length,
    Ipv4Checksum,
    Ipv6Header,
    Ipv6Length,
    Fragment,
    IcmpLength,
    UdpLength,
    ArpKind,
    NeighborDiscovery,
    TransportVersion,
    TransportLength,
    Opcode
}

struct headers_t {
    ethernet_h     ethernet;
    vlan_h         vlan;
    arp_h          arp;
    ipv4_h         ipv4;
    ipv6_h         ipv6;
    icmp_h         icmp;
    neighbor_h     neighbor;
    link_address_h link_address;
    udp_h          udp;
    bth_h          bth;
    deth_h         deth;
    reth_h         reth;
    aeth_h         aeth;
    immediate_h    immediate;
    ieth_h         ieth;
    atomic_h       atomic;
    atomic_ack_h   atomic_ack;
}

struct metadata_t {
    /// The transport has made this packet: its BTH and what follows are valid, its lower headers are to be made.
    bool           outgoing;
    /// The port that it leaves by, and the address of the port that it came or goes by.
    PortId_t       port;
    bit<48>        port_mac;
    /// Tag of the packet, 0 for none.
    bit<12>        vid;
    bit<3>         pcp;
    /// The card's address and the host's; an IPv4 one is mapped into IPv6.
    bit<128>       local_ip;
    bit<128>       remote_ip;
    /// The host's Ethernet address, as its last connection request had it.
    bit<48>        remote_mac;
    /// Whose address it is.
    bit<16>        tenant;
    /// Bytes behind the headers without pad and ICRC; of an outgoing packet, what is to be sent.
    bit<16>        payload_bytes;
    /// What the host's connection request asked for: DSCP and ECN as one byte.
    bit<8>         traffic_class;
    /// UDP source port and IPv4 identification of an outgoing packet.
    bit<16>        udp_source;
    bit<16>        ip_id;
    /// What the opcode asks for.
    class_t        class;
    /// The lcore that has the packet's QP, and the QP's place there.
    bit<16>        lcore;
    bit<32>        qp;
    /// The packet met congestion on its way (ECN CE).
    bool           congestion;
    /// What becomes of it, and why.
    verdict_t      verdict;
    drop_t         reason;
    punt_t         punt;
    /// What follows the headers does not belong to an answer.
    bool           cut_payload;
    /// Bytes of the IP datagram behind its header.
    bit<16>        datagram_bytes;
}

/// What a P4Runtime client gets with a packet.
@controller_header("packet_in")
header packet_in_h {
    bit<32>        port;
    bit<8>         reason;
    bit<24>        reserved;
}

/// What a P4Runtime client says with a packet that it sends.
@controller_header("packet_out")
header packet_out_h {
    bit<32>        port;
}

/// Told to control at most once a packet: somebody was kept out.
struct denied_t {
    bit<16>        tenant;
    bit<128>       source;
    bit<24>        qpn;
}

/// The packet met congestion: the transport tells its sender (CNP) when it is time to.
extern void congestion_experienced(in bit<16> lcore, in bit<32> qp);

parser PacketParser(
    packet_in packet,
    out headers_t hdr,
    inout metadata_t meta,
    in pna_main_parser_input_metadata_t arrived)
{
    InternetChecksum() checksum;
    bit<16> behind;

    state start {
        packet.extract(hdr.ethernet);
        behind = (bit<16>)packet.length() - 14;
        transition select(hdr.ethernet.ether_type) {
            ether_type_t.IPV4: ipv4;
            ether_type_t.IPV6: ipv6;
            ether_type_t.ARP:  arp;
            ether_type_t.VLAN: vlan;
            default:           accept;
        }
    }

    state vlan {
        packet.extract(hdr.vlan);
        meta.vid = hdr.vlan.vid;
        meta.pcp = hdr.vlan.pcp;
        behind = behind - 4;
        transition select(hdr.vlan.ether_type) {
            ether_type_t.IPV4: ipv4;
            ether_type_t.IPV6: ipv6;
            ether_type_t.ARP:  arp;
            default:           accept;
        }
    }

    state arp {
        packet.extract(hdr.arp);
        verify(hdr.arp.hardware == ARP_ETHERNET && hdr.arp.protocol == (bit<16>)ether_type_t.IPV4
               && hdr.arp.hardware_bytes == 6 && hdr.arp.protocol_bytes == 4, error.ArpKind);
        meta.local_ip = V4_MAPPED ++ hdr.arp.target_ip;
        meta.remote_ip = V4_MAPPED ++ hdr.arp.sender_ip;
        transition accept;
    }

    state ipv4 {
        packet.extract(hdr.ipv4);
        verify(hdr.ipv4.version == 4, error.Ipv4Header);
        // No sender of RoCE sets any.
        verify(hdr.ipv4.ihl == 5, error.Ipv4Options);
        // Ethernet may have padded a short packet.
        verify(hdr.ipv4.total_length >= 20 && hdr.ipv4.total_length <= behind, error.Ipv4Length);
        verify(hdr.ipv4.more_fragments == 0 && hdr.ipv4.fragment_offset == 0, error.Fragment);
        checksum.clear();
        checksum.add({
            hdr.ipv4.version, hdr.ipv4.ihl, hdr.ipv4.dscp, hdr.ipv4.ecn, hdr.ipv4.total_length,
            hdr.ipv4.identification, hdr.ipv4.reserved, hdr.ipv4.dont_fragment, hdr.ipv4.more_fragments,
            hdr.ipv4.fragment_offset, hdr.ipv4.ttl, hdr.ipv4.protocol, hdr.ipv4.checksum, hdr.ipv4.source,
            hdr.ipv4.destination });
        verify(checksum.get() == 0, error.Ipv4Checksum);
        meta.local_ip = V4_MAPPED ++ hdr.ipv4.destination;
        meta.remote_ip = V4_MAPPED ++ hdr.ipv4.source;
        meta.datagram_bytes = hdr.ipv4.total_length - 20;
        transition select(hdr.ipv4.protocol) {
            protocol_t.UDP:  udp;
            protocol_t.ICMP: icmp;
            default:         accept;
        }
    }

    state ipv6 {
        packet.extract(hdr.ipv6);
        verify(hdr.ipv6.version == 6, error.Ipv6Header);
        verify(behind >= 40 && hdr.ipv6.payload_length <= behind - 40, error.Ipv6Length);
        meta.local_ip = hdr.ipv6.destination;
        meta.remote_ip = hdr.ipv6.source;
        meta.datagram_bytes = hdr.ipv6.payload_length;
        transition select(hdr.ipv6.next_header) {
            protocol_t.UDP:   udp;
            protocol_t.ICMP6: icmp6;
            // A fragment header (RFC 8200 §4.5).
            44:               fragment;
            default:          accept;
        }
    }

    state fragment {
        verify(false, error.Fragment);
        transition reject;
    }

    state icmp {
        packet.extract(hdr.icmp);
        verify(meta.datagram_bytes >= 8, error.IcmpLength);
        transition accept;
    }

    state icmp6 {
        packet.extract(hdr.icmp);
        verify(meta.datagram_bytes >= 8, error.IcmpLength);
        transition select(hdr.icmp.kind) {
            NEIGHBOR_SOLICITATION: neighbor;
            default:               accept;
        }
    }

    state neighbor {
        packet.extract(hdr.neighbor);
        meta.local_ip = hdr.neighbor.target;
        // RFC 4861 §7.1.1: not through a router, and not about a group.
        verify(hdr.ipv6.hop_limit == HOP_LIMIT_LINK && hdr.icmp.code == 0
               && hdr.neighbor.target[127:120] != 0xff, error.NeighborDiscovery);
        checksum.clear();
        checksum.add({
            hdr.ipv6.source, hdr.ipv6.destination, 16w0, hdr.ipv6.payload_length, 24w0, hdr.ipv6.next_header,
            hdr.icmp.kind, hdr.icmp.code, hdr.icmp.checksum, hdr.icmp.rest, hdr.neighbor.target });
        transition select(meta.datagram_bytes) {
            24:      checked;
            32:      link_address;
            default: options;
        }
    }

    /// Options of which we know nothing.
    state options {
        verify(false, error.NeighborDiscovery);
        transition reject;
    }

    state link_address {
        packet.extract(hdr.link_address);
        checksum.add({ hdr.link_address.kind, hdr.link_address.eights, hdr.link_address.mac });
        // An address that is none yet has no place at the link (RFC 4861 §7.1.1).
        verify(hdr.link_address.eights == 1
               && (hdr.link_address.kind != SOURCE_LINK_ADDRESS || hdr.ipv6.source != 0), error.NeighborDiscovery);
        transition checked;
    }

    state checked {
        verify(checksum.get() == 0, error.NeighborDiscovery);
        transition accept;
    }

    state udp {
        packet.extract(hdr.udp);
        transition select(hdr.udp.destination_port) {
            ROCE_PORT: bth;
            default:   accept;
        }
    }

    state bth {
        verify(hdr.udp.length == meta.datagram_bytes, error.UdpLength);
        packet.extract(hdr.bth);
        verify(hdr.bth.version == 0, error.TransportVersion);
        meta.payload_bytes = hdr.udp.length;
        // UDP's header, this one, pad and ICRC.
        meta.payload_bytes = meta.payload_bytes |-| (8 + 12 + ICRC_BYTES + (bit<16>)hdr.bth.pad);
        verify(hdr.udp.length >= 8 + 12 + ICRC_BYTES + (bit<16>)hdr.bth.pad, error.TransportLength);
        transition select(hdr.bth.opcode) {
            opcode_t.SEND_FIRST:             accept;
            opcode_t.SEND_MIDDLE:            accept;
            opcode_t.SEND_LAST:              accept;
            opcode_t.SEND_ONLY:              accept;
            opcode_t.WRITE_MIDDLE:           accept;
            opcode_t.WRITE_LAST:             accept;
            opcode_t.READ_RESPONSE_MIDDLE:   accept;
            opcode_t.SEND_LAST_IMMEDIATE:    immediate;
            opcode_t.SEND_ONLY_IMMEDIATE:    immediate;
            opcode_t.WRITE_LAST_IMMEDIATE:   immediate;
            opcode_t.SEND_LAST_INVALIDATE:   ieth;
            opcode_t.SEND_ONLY_INVALIDATE:   ieth;
            opcode_t.WRITE_FIRST:            reth;
            opcode_t.WRITE_ONLY:             reth;
            opcode_t.WRITE_ONLY_IMMEDIATE:   reth;
            opcode_t.READ_REQUEST:           reth;
            opcode_t.READ_RESPONSE_FIRST:    aeth;
            opcode_t.READ_RESPONSE_LAST:     aeth;
            opcode_t.READ_RESPONSE_ONLY:     aeth;
            opcode_t.ACKNOWLEDGE:            aeth;
            opcode_t.ATOMIC_ACKNOWLEDGE:     aeth;
            opcode_t.COMPARE_SWAP:           atomic;
            opcode_t.FETCH_ADD:              atomic;
            opcode_t.UD_SEND_ONLY:           deth;
            opcode_t.UD_SEND_ONLY_IMMEDIATE: deth;
            opcode_t.CNP:                    accept;
            default:                         unknown;
        }
    }

    state unknown {
        verify(false, error.Opcode);
        transition reject;
    }

    state deth {
        packet.extract(hdr.deth);
        verify(meta.payload_bytes >= 8, error.TransportLength);
        meta.payload_bytes = meta.payload_bytes - 8;
        transition select(hdr.bth.opcode) {
            opcode_t.UD_SEND_ONLY_IMMEDIATE: immediate;
            default:                         accept;
        }
    }

    state reth {
        packet.extract(hdr.reth);
        verify(meta.payload_bytes >= 16, error.TransportLength);
        meta.payload_bytes = meta.payload_bytes - 16;
        transition select(hdr.bth.opcode) {
            opcode_t.WRITE_ONLY_IMMEDIATE: immediate;
            default:                       accept;
        }
    }

    state aeth {
        packet.extract(hdr.aeth);
        verify(meta.payload_bytes >= 4, error.TransportLength);
        meta.payload_bytes = meta.payload_bytes - 4;
        transition select(hdr.bth.opcode) {
            opcode_t.ATOMIC_ACKNOWLEDGE: atomic_ack;
            default:                     accept;
        }
    }

    state immediate {
        packet.extract(hdr.immediate);
        verify(meta.payload_bytes >= 4, error.TransportLength);
        meta.payload_bytes = meta.payload_bytes - 4;
        transition accept;
    }

    state ieth {
        packet.extract(hdr.ieth);
        verify(meta.payload_bytes >= 4, error.TransportLength);
        meta.payload_bytes = meta.payload_bytes - 4;
        transition accept;
    }

    state atomic {
        packet.extract(hdr.atomic);
        verify(meta.payload_bytes >= 28, error.TransportLength);
        meta.payload_bytes = meta.payload_bytes - 28;
        transition accept;
    }

    state atomic_ack {
        packet.extract(hdr.atomic_ack);
        verify(meta.payload_bytes >= 8, error.TransportLength);
        meta.payload_bytes = meta.payload_bytes - 8;
        transition accept;
    }
}

control PacketControl(
    inout headers_t hdr,
    inout metadata_t meta,
    in pna_main_input_metadata_t istd,
    inout pna_main_output_metadata_t ostd)
{
    /// Packets and bytes dropped, by reason.
    Counter<bit<64>, drop_t>(16, PNA_CounterType_t.PACKETS_AND_BYTES) drops;
    /// Packets and bytes of each tenant that were let in.
    Counter<bit<64>, bit<16>>(TENANTS, PNA_CounterType_t.PACKETS_AND_BYTES) admitted;
    /// What each tenant may send to the card.
    Meter<bit<16>>(TENANTS, PNA_MeterType_t.BYTES) tenant_rate;
    /// Hits of each access entry.
    DirectCounter<bit<64>>(PNA_CounterType_t.PACKETS_AND_BYTES) access_hits;
    /// Who was denied, for whoever listens.
    Digest<denied_t>() denials;
    InternetChecksum() checksum;
    PNA_MeterColor_t colour = PNA_MeterColor_t.GREEN;

    action drop(drop_t reason) {
        meta.verdict = verdict_t.DROP;
        meta.reason = reason;
        drops.count(reason);
    }

    /// The address is the card's, and this tenant's.
    action local(bit<16> tenant) {
        meta.tenant = tenant;
    }

    action not_local() {
        drop(drop_t.NOT_LOCAL);
    }

    /// Addresses that the card answers for. A packet to any other is dropped.
    @owner("control")
    table local_addresses {
        key = {
            istd.input_port: exact @name("port");
            meta.vid:        exact @name("vid");
            meta.local_ip:   exact @name("address");
        }
        actions = { local; @defaultonly not_local; }
        const default_action = not_local();
        size = LOCAL_ADDRESSES;
    }

    /// The packet may pass.
    action allow() {
        access_hits.count();
    }

    /// The packet may not pass; nobody is told.
    action deny() {
        access_hits.count();
        drop(drop_t.DENIED);
    }

    /// The packet may not pass, and listeners get a digest.
    action deny_and_tell() {
        access_hits.count();
        drop(drop_t.DENIED);
        denials.pack({ meta.tenant, meta.remote_ip, hdr.bth.dest_qp });
    }

    /// The packet goes to the P4Runtime client instead.
    action punt_to_client() {
        access_hits.count();
        meta.verdict = verdict_t.PUNT;
        meta.punt = punt_t.ACCESS;
    }

    /// Which hosts may send what to a tenant's addresses. Without an entry that matches a packet passes.
    table access {
        key = {
            meta.tenant:         optional @name("tenant");
            meta.remote_ip:      ternary  @name("source");
            meta.local_ip:       ternary  @name("destination");
            meta.class:          optional @name("class");
            hdr.udp.source_port: range    @name("udp_source");
        }
        actions = { allow; deny; deny_and_tell; punt_to_client; }
        default_action = allow();
        size = ACCESS_ENTRIES;
        pna_direct_counter = access_hits;
        pna_idle_timeout = PNA_IdleTimeout_t.NOTIFY_CONTROL;
    }

    action classify(class_t class) {
        meta.class = class;
    }

    action unserved() {
        drop(drop_t.OPCODE);
    }

    /// What an opcode asks of the transport. Atomics are not served.
    @owner("program")
    table opcodes {
        key = { hdr.bth.opcode: exact @name("opcode"); }
        actions = { classify; @defaultonly unserved; }
        const default_action = unserved();
        const entries = {
            opcode_t.SEND_FIRST:             classify(class_t.REQUEST);
            opcode_t.SEND_MIDDLE:            classify(class_t.REQUEST);
            opcode_t.SEND_LAST:              classify(class_t.REQUEST);
            opcode_t.SEND_LAST_IMMEDIATE:    classify(class_t.REQUEST);
            opcode_t.SEND_ONLY:              classify(class_t.REQUEST);
            opcode_t.SEND_ONLY_IMMEDIATE:    classify(class_t.REQUEST);
            opcode_t.WRITE_FIRST:            classify(class_t.REQUEST);
            opcode_t.WRITE_MIDDLE:           classify(class_t.REQUEST);
            opcode_t.WRITE_LAST:             classify(class_t.REQUEST);
            opcode_t.WRITE_LAST_IMMEDIATE:   classify(class_t.REQUEST);
            opcode_t.WRITE_ONLY:             classify(class_t.REQUEST);
            opcode_t.WRITE_ONLY_IMMEDIATE:   classify(class_t.REQUEST);
            opcode_t.READ_REQUEST:           classify(class_t.REQUEST);
            opcode_t.SEND_LAST_INVALIDATE:   classify(class_t.REQUEST);
            opcode_t.SEND_ONLY_INVALIDATE:   classify(class_t.REQUEST);
            opcode_t.READ_RESPONSE_FIRST:    classify(class_t.RESPONSE);
            opcode_t.READ_RESPONSE_MIDDLE:   classify(class_t.RESPONSE);
            opcode_t.READ_RESPONSE_LAST:     classify(class_t.RESPONSE);
            opcode_t.READ_RESPONSE_ONLY:     classify(class_t.RESPONSE);
            opcode_t.ACKNOWLEDGE:            classify(class_t.ACKNOWLEDGE);
            opcode_t.UD_SEND_ONLY:           classify(class_t.DATAGRAM);
            opcode_t.UD_SEND_ONLY_IMMEDIATE: classify(class_t.DATAGRAM);
            opcode_t.CNP:                    classify(class_t.CONGESTION);
        }
        size = 32;
    }

    /// The QP lives on this lcore, at this place.
    action to_qp(bit<16> lcore, bit<32> qp) {
        meta.lcore = lcore;
        meta.qp = qp;
        meta.verdict = verdict_t.TRANSPORT;
    }

    action no_qp() {
        drop(drop_t.NO_QP);
    }

    /// Where each QP lives.
    @owner("control")
    table qps {
        key = { hdr.bth.dest_qp: exact @name("qpn"); }
        actions = { to_qp; @defaultonly no_qp; }
        const default_action = no_qp();
        size = QPS;
    }

    /// Above its rate the tenant's packets are dropped; the transport slows down.
    action police() {
        if (colour == PNA_MeterColor_t.RED) {
            drop(drop_t.THROTTLED);
        }
    }

    /// Above its rate the tenant's packets are counted and let through.
    action observe() {}

    /// What is done about tenants above their rate.
    table tenants {
        key = { meta.tenant: exact @name("tenant"); }
        actions = { police; observe; }
        default_action = observe();
        size = TENANTS;
    }

    /// The host is reached by this Ethernet address instead of the one that its connection request came from.
    action next_hop(bit<48> mac) {
        meta.remote_mac = mac;
    }

    action as_it_came() {}

    /// Next hops set by hand.
    table neighbors {
        key = {
            meta.port:        exact @name("port");
            meta.vid:         exact @name("vid");
            meta.remote_ip:   exact @name("address");
        }
        actions = { next_hop; @defaultonly as_it_came; }
        const default_action = as_it_came();
        size = NEIGHBORS;
    }

    bit<6> dscp = 0;
    bit<2> ecn = 0;

    /// Priority of a tenant's packets in the network, whatever their hosts asked for.
    action mark(bit<6> to_dscp, bit<2> to_ecn, bit<3> to_pcp) {
        dscp = to_dscp;
        ecn = to_ecn;
        meta.pcp = to_pcp;
    }

    action unmarked() {}

    /// DSCP, ECN and PCP of what the card sends, by tenant.
    table traffic_classes {
        key = { meta.tenant: exact @name("tenant"); }
        actions = { mark; unmarked; }
        default_action = unmarked();
        size = TENANTS;
    }

    /// From us, to whom it came from.
    action return_to_sender() {
        hdr.ethernet.destination = hdr.ethernet.source;
        hdr.ethernet.source = meta.port_mac;
        meta.verdict = verdict_t.ANSWER;
    }

    apply {
        if (meta.outgoing) {
            // s9 keeps what this makes of a QP's packets until a table changes: nothing here counts, meters or looks at what
            // differs from packet to packet but lengths and identification.
            dscp = meta.traffic_class[7:2];
            ecn = meta.traffic_class[1:0];
            neighbors.apply();
            traffic_classes.apply();
            bit<16> udp_bytes = 8 + 12 + ICRC_BYTES + meta.payload_bytes + (bit<16>)hdr.bth.pad;
            if (hdr.deth.isValid()) { udp_bytes = udp_bytes + 8; }
            if (hdr.reth.isValid()) { udp_bytes = udp_bytes + 16; }
            if (hdr.aeth.isValid()) { udp_bytes = udp_bytes + 4; }
            if (hdr.immediate.isValid()) { udp_bytes = udp_bytes + 4; }
            if (hdr.ieth.isValid()) { udp_bytes = udp_bytes + 4; }
            bool v4 = meta.remote_ip[127:32] == V4_MAPPED;
            hdr.ethernet.setValid();
            hdr.ethernet.destination = meta.remote_mac;
            hdr.ethernet.source = meta.port_mac;
            hdr.ethernet.ether_type = v4 ? (bit<16>)ether_type_t.IPV4 : (bit<16>)ether_type_t.IPV6;
            if (meta.vid != 0 || meta.pcp != 0) {
                hdr.vlan.setValid();
                hdr.vlan.pcp = meta.pcp;
                hdr.vlan.dei = 0;
                hdr.vlan.vid = meta.vid;
                hdr.vlan.ether_type = hdr.ethernet.ether_type;
                hdr.ethernet.ether_type = (bit<16>)ether_type_t.VLAN;
            }
            if (v4) {
                hdr.ipv4.setValid();
                hdr.ipv4.version = 4;
                hdr.ipv4.ihl = 5;
                hdr.ipv4.dscp = dscp;
                hdr.ipv4.ecn = ecn;
                hdr.ipv4.total_length = 20 + udp_bytes;
                hdr.ipv4.identification = meta.ip_id;
                hdr.ipv4.reserved = 0;
                hdr.ipv4.dont_fragment = 1;
                hdr.ipv4.more_fragments = 0;
                hdr.ipv4.fragment_offset = 0;
                hdr.ipv4.ttl = HOP_LIMIT;
                hdr.ipv4.protocol = (bit<8>)protocol_t.UDP;
                hdr.ipv4.source = meta.local_ip[31:0];
                hdr.ipv4.destination = meta.remote_ip[31:0];
                checksum.clear();
                checksum.add({
                    hdr.ipv4.version, hdr.ipv4.ihl, hdr.ipv4.dscp, hdr.ipv4.ecn, hdr.ipv4.total_length,
                    hdr.ipv4.identification, hdr.ipv4.reserved, hdr.ipv4.dont_fragment, hdr.ipv4.more_fragments,
                    hdr.ipv4.fragment_offset, hdr.ipv4.ttl, hdr.ipv4.protocol, hdr.ipv4.source,
                    hdr.ipv4.destination });
                hdr.ipv4.checksum = checksum.get();
            } else {
                hdr.ipv6.setValid();
                hdr.ipv6.version = 6;
                hdr.ipv6.dscp = dscp;
                hdr.ipv6.ecn = ecn;
                hdr.ipv6.flow_label = 0;
                hdr.ipv6.payload_length = udp_bytes;
                hdr.ipv6.next_header = (bit<8>)protocol_t.UDP;
                hdr.ipv6.hop_limit = HOP_LIMIT;
                hdr.ipv6.source = meta.local_ip;
                hdr.ipv6.destination = meta.remote_ip;
            }
            hdr.udp.setValid();
            hdr.udp.source_port = meta.udp_source;
            hdr.udp.destination_port = ROCE_PORT;
            hdr.udp.length = udp_bytes;
            hdr.udp.checksum = 0;
            meta.verdict = verdict_t.SEND;
        } else if (istd.parser_error != error.NoError) {
            drop(drop_t.MALFORMED);
        } else if (!local_addresses.apply().hit) {
            // It was dropped.
        } else if (hdr.arp.isValid()) {
            if (hdr.arp.operation == ARP_REQUEST) {
                return_to_sender();
                hdr.arp.operation = ARP_REPLY;
                hdr.arp.target_mac = hdr.arp.sender_mac;
                bit<32> asked = hdr.arp.target_ip;
                hdr.arp.target_ip = hdr.arp.sender_ip;
                hdr.arp.sender_ip = asked;
                hdr.arp.sender_mac = meta.port_mac;
                meta.cut_payload = true;
            } else {
                drop(drop_t.NOT_LOCAL);
            }
        } else if (hdr.neighbor.isValid()) {
            return_to_sender();
            hdr.icmp.kind = NEIGHBOR_ADVERTISEMENT;
            hdr.icmp.rest = ADVERTISEMENT_FLAGS;
            if (hdr.ipv6.source == 0) {
                // Somebody looks whether the address is taken: all are told, and nobody asked (RFC 4861 §7.2.4).
                hdr.ipv6.destination = ALL_NODES;
                hdr.ethernet.destination = ALL_NODES_MAC;
                hdr.icmp.rest = ADVERTISEMENT_FLAGS & 0x3fffffff;
            } else {
                hdr.ipv6.destination = hdr.ipv6.source;
            }
            hdr.ipv6.source = hdr.neighbor.target;
            hdr.ipv6.payload_length = 32;
            hdr.link_address.setValid();
            hdr.link_address.kind = TARGET_LINK_ADDRESS;
            hdr.link_address.eights = 1;
            hdr.link_address.mac = meta.port_mac;
            checksum.clear();
            checksum.add({
                hdr.ipv6.source, hdr.ipv6.destination, 16w0, hdr.ipv6.payload_length, 24w0, hdr.ipv6.next_header,
                hdr.icmp.kind, hdr.icmp.code, hdr.icmp.rest, hdr.neighbor.target, hdr.link_address.kind,
                hdr.link_address.eights, hdr.link_address.mac });
            hdr.icmp.checksum = checksum.get();
            meta.cut_payload = true;
        } else if (hdr.icmp.isValid()) {
            bool v4 = hdr.ipv4.isValid();
            bit<8> asks = v4 ? ICMP_ECHO_REQUEST : ICMP6_ECHO_REQUEST;
            if (hdr.icmp.kind == asks && hdr.icmp.code == 0) {
                return_to_sender();
                // The rest of the message stays, so its checksum changes by the type alone (RFC 1624).
                checksum.clear();
                checksum.subtract({ hdr.icmp.checksum });
                checksum.subtract({ hdr.icmp.kind, hdr.icmp.code });
                hdr.icmp.kind = v4 ? ICMP_ECHO_REPLY : ICMP6_ECHO_REPLY;
                checksum.add({ hdr.icmp.kind, hdr.icmp.code });
                hdr.icmp.checksum = checksum.get();
                if (v4) {
                    hdr.ipv4.destination = hdr.ipv4.source;
                    hdr.ipv4.source = meta.local_ip[31:0];
                    bit<8> ttl = hdr.ipv4.ttl;
                    checksum.clear();
                    checksum.subtract({ hdr.ipv4.checksum });
                    checksum.subtract({ ttl, hdr.ipv4.protocol });
                    hdr.ipv4.ttl = HOP_LIMIT;
                    checksum.add({ hdr.ipv4.ttl, hdr.ipv4.protocol });
                    hdr.ipv4.checksum = checksum.get();
                } else {
                    hdr.ipv6.destination = hdr.ipv6.source;
                    hdr.ipv6.source = meta.local_ip;
                    hdr.ipv6.hop_limit = HOP_LIMIT;
                }
            } else {
                drop(drop_t.NOT_LOCAL);
            }
        } else if (hdr.bth.isValid()) {
            meta.verdict = verdict_t.TRANSPORT;
            // What another lcore hands over it has let in already.
            if (!istd.recirculated) {
                if (opcodes.apply().hit) {
                    access.apply();
                    if (meta.verdict == verdict_t.TRANSPORT) {
                        colour = tenant_rate.execute(meta.tenant);
                        tenants.apply();
                    }
                    if (meta.verdict == verdict_t.TRANSPORT) {
                        admitted.count(meta.tenant);
                    }
                }
            }
            if (meta.verdict == verdict_t.TRANSPORT) {
                if (hdr.deth.isValid()) {
                    if (hdr.bth.dest_qp == QP1) {
                        meta.verdict = verdict_t.PUNT;
                        meta.punt = punt_t.MANAGEMENT;
                    } else {
                        drop(drop_t.NO_QP);
                    }
                } else {
                    if (qps.apply().hit) {
                        meta.congestion = hdr.ipv4.isValid() && hdr.ipv4.ecn == ECN_CE
                            || hdr.ipv6.isValid() && hdr.ipv6.ecn == ECN_CE;
                        if (meta.congestion) {
                            congestion_experienced(meta.lcore, meta.qp);
                        }
                    }
                }
            }
        } else {
            drop(drop_t.NOT_LOCAL);
        }
    }
}

control PacketDeparser(
    packet_out packet,
    in headers_t hdr,
    in metadata_t meta,
    in pna_main_output_metadata_t ostd)
{
    apply {
        packet.emit(hdr.ethernet);
        packet.emit(hdr.vlan);
        packet.emit(hdr.arp);
        packet.emit(hdr.ipv4);
        packet.emit(hdr.ipv6);
        packet.emit(hdr.icmp);
        packet.emit(hdr.neighbor);
        packet.emit(hdr.link_address);
        packet.emit(hdr.udp);
        packet.emit(hdr.bth);
        packet.emit(hdr.deth);
        packet.emit(hdr.reth);
        packet.emit(hdr.aeth);
        packet.emit(hdr.immediate);
        packet.emit(hdr.ieth);
        packet.emit(hdr.atomic);
        packet.emit(hdr.atomic_ack);
    }
}

@pkginfo(name = "gantry.packet", version = "0.1.0", arch = "pna")
PNA_NIC(PacketParser(), PacketControl(), PacketDeparser()) main;
