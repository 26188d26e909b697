// Every match kind, entries of both sorts, and what depends on the outcome (P4_16 §14.2).

#include "../parts/frame.p4"

control MainControl(
    inout headers_t hdr,
    inout metadata_t meta,
    in pna_main_input_metadata_t istd,
    inout pna_main_output_metadata_t ostd)
{
    DirectCounter<bit<64>>(PNA_CounterType_t.PACKETS_AND_BYTES) hits;
    action drop() { drop_packet(); }
    action allow(bit<16> tenant) {
        meta.tenant = tenant;
        meta.allowed = true;
    }
    action classify(inout bit<8> class, bit<8> value) { class = value; }
    table exact_table {
        key = { hdr.ethernet.source : exact @name("source"); istd.input_port : exact; }
        actions = { allow; @defaultonly drop; }
        const default_action = drop();
        size = 1 << 20;
        pna_direct_counter = hits;
    }
    table routes {
        key = { hdr.ipv4.destination : lpm; }
        actions = { allow; NoAction; }
        size = 1024;
        const entries = {
            0x0A000000 &&& 0xFF000000 : NoAction();
            0x0A010000 &&& 0xFFFF0000 : allow(1);
        }
    }
    table access {
        key = {
            hdr.ipv4.source   : ternary;
            hdr.ipv4.protocol : optional;
            hdr.ipv4.ttl      : range;
        }
        actions = { allow; drop; }
        default_action = allow(7);
        entries = {
            const priority = 20: (0x0A000000 &&& 0xFF000000, 17, 1 .. 64) : allow(1);
            priority = 10: (_, _, 0 .. 0) : drop();
        }
        size = 128;
        pna_idle_timeout = PNA_IdleTimeout_t.NOTIFY_CONTROL;
    }
    table classes {
        key = { hdr.ipv4.dscp : exact; }
        actions = { classify(meta.class); NoAction; }
        const entries = {
            6w46 : classify(meta.class, 1);
            0    : NoAction();
        }
    }
    apply {
        if (exact_table.apply().hit) {
            send_to_port(istd.input_port);
        } else if (!hdr.ipv4.isValid()) {
            exit;
        }
        routes.apply();
        switch (access.apply().action_run) {
            drop: { return; }
            allow: { classes.apply(); }
            default: { }
        }
    }
}

PNA_NIC(MainParser(), MainControl(), MainDeparser()) main;
