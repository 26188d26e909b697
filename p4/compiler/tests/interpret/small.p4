// Takes tags off, by VLAN. Small, but with something of everything that the interpreter and the emitters read.

#include <core.p4>
#include <pna.p4>

error { ReservedVlan }

header ethernet_h {
    bit<48> destination;
    bit<48> source;
    bit<16> kind;
}

header vlan_h {
    bit<4>  priority;
    bit<12> vid;
    bit<16> kind;
}

struct headers_t {
    ethernet_h ethernet;
    vlan_h     vlan;
}

struct metadata_t {
    bit<8> class;
}

struct unknown_t {
    bit<12>  vid;
    PortId_t port;
}

@controller_header("packet_in")
header packet_in_h {
    bit<32> port;
}

parser SmallParser(
    packet_in packet,
    out headers_t hdr,
    inout metadata_t meta,
    in pna_main_parser_input_metadata_t istd)
{
    state start {
        packet.extract(hdr.ethernet);
        transition select(hdr.ethernet.kind) {
            0x8100:  vlan;
            default: accept;
        }
    }

    state vlan {
        packet.extract(hdr.vlan);
        verify(hdr.vlan.vid != 0xfff, error.ReservedVlan);
        transition select(hdr.vlan.kind) {
            0x0000 .. 0x80ff: accept;
            0x8800 &&& 0xf800: accept;
        }
    }
}

control SmallControl(
    inout headers_t hdr,
    inout metadata_t meta,
    in pna_main_input_metadata_t istd,
    inout pna_main_output_metadata_t ostd)
{
    Counter<bit<64>, bit<8>>(4, PNA_CounterType_t.PACKETS) unknown;
    Digest<unknown_t>() told;

    action unknown_vlan(bit<8> cell) {
        unknown.count(cell);
        told.pack({ hdr.vlan.vid, istd.input_port });
        drop_packet();
    }

    action drop() {
        unknown_vlan(1);
    }

    action forward(@id(9) PortId_t port) {
        hdr.ethernet.kind = hdr.vlan.kind;
        hdr.vlan.setInvalid();
        send_to_port(port);
    }

    /// Where each VLAN goes.
    @id(0xabc)
    @owner("control")
    table vlans {
        key = { hdr.vlan.vid: exact @name("vid") @id(5); }
        actions = { forward; @defaultonly drop; }
        const default_action = drop();
        size = 64;
        pna_idle_timeout = PNA_IdleTimeout_t.NOTIFY_CONTROL;
    }

    action classify(bit<8> class) {
        meta.class = class;
    }

    /// What is carried.
    table kinds {
        key = { hdr.vlan.kind: ternary @name("kind"); }
        actions = { classify; NoAction; }
        const entries = {
            0x0800:            classify(1);
            0x88b5 &&& 0xfffd: classify(2);
            0x8800 &&& 0xff00: classify(3);
        }
        size = 8;
    }

    apply {
        if (istd.parser_error == error.NoError && hdr.vlan.isValid()) {
            kinds.apply();
            vlans.apply();
        }
    }
}

control SmallDeparser(
    packet_out packet,
    in headers_t hdr,
    in metadata_t meta,
    in pna_main_output_metadata_t ostd)
{
    apply {
        packet.emit(hdr.ethernet);
        packet.emit(hdr.vlan);
    }
}

PNA_NIC(SmallParser(), SmallControl(), SmallDeparser()) main;
