//! The Rust that packet.p4 and command.p4 compile to, as a third engine: the same entries, packets and answers.

use std::collections::BTreeMap;

use gantry::{command, packet};
use gantry_p4c::interpret::Machine;
use gantry_p4c::ir::Match;
use gantry_table::{MeterConfig, Writer};

/// One program's tables and what they are changed by.
macro_rules! engine {
    ($engine:ident, $module:ident, $said:ident) => {
        pub(crate) struct $engine {
            pub(crate) writer: Writer,
            pub(crate) tables: $module::Tables,
            pub(crate) banks: $module::Banks,
            pub(crate) lcore: gantry_table::Lcore,
            installed: Vec<(u32, Vec<$module::Match>, i32)>,
        }

        impl $engine {
            pub(crate) fn new(sizes: &$module::Sizes) -> Self {
                let mut writer = Writer::new(2, 77);
                let tables = $module::Tables::new(&mut writer, sizes, 2).expect("the program's entries fit");
                writer.publish();
                let banks = tables.banks().expect("an lcore's counters");
                let lcore = writer.lcore().expect("an lcore");
                Self { writer, tables, banks, lcore, installed: Vec::new() }
            }

            /// The entries that a machine has: its tables hold them from now on, and no others.
            pub(crate) fn hold_what(&mut self, machine: &Machine<'_>) {
                for (table, matches, priority) in self.installed.drain(..) {
                    self.tables.remove(&mut self.writer, table, &matches, priority).expect("it was inserted");
                }
                self.writer.publish();
                for (place, table) in (0_u32..).zip(&machine.program().tables) {
                    for row in machine.table(gantry_p4c::ir::TableId(place)).rows().iter().filter(|row| !row.constant) {
                        let matches: Vec<_> = row.entry.matches.iter().map(|of| $said(*of)).collect();
                        let action = machine.program().actions[row.entry.action.index()].id;
                        let (priority, arguments) = (row.entry.priority, &row.entry.arguments);
                        self.tables
                            .insert(&mut self.writer, table.id, &matches, priority, action, arguments)
                            .unwrap_or_else(|error| panic!("{}: {error:?}", table.name));
                        self.installed.push((table.id, matches, priority));
                    }
                }
                self.writer.publish();
            }
        }

        fn $said(of: Match) -> $module::Match {
            match of {
                Match::Any => $module::Match::Any,
                Match::Value(value) => $module::Match::Value(value),
                Match::Mask { value, mask } => $module::Match::Mask { value, mask },
                Match::Range { low, high } => $module::Match::Range { low, high },
                Match::Prefix { value, length } => $module::Match::Prefix { value, length },
            }
        }
    };
}

engine!(PacketEngine, packet, packet_match);
engine!(CommandEngine, command, command_match);

/// What the program called.
#[derive(Default)]
pub(crate) struct Called {
    pub(crate) names: Vec<&'static str>,
    pub(crate) block_shift: u8,
}

impl packet::Externs for Called {
    fn prefetch(&mut self, _: &gantry_table::Line) {}

    fn congestion_experienced(&mut self, _: usize, _: u16, _: u32) {
        self.names.push("congestion_experienced");
    }

    fn denials_pack(&mut self, _: usize, _: u16, _: u128, _: u32) {
        self.names.push("pack");
    }
}

impl command::Externs for Called {
    fn prefetch(&mut self, _: &gantry_table::Line) {}

    fn block_shift(&mut self, _: usize, _: u16, _: u32) -> u8 {
        self.names.push("block_shift");
        self.block_shift
    }
}

/// What became of a packet: metadata by the program's names, valid headers, what was called, and what leaves.
pub(crate) struct Became {
    pub(crate) values: BTreeMap<&'static str, u128>,
    pub(crate) valid: u32,
    pub(crate) called: Vec<&'static str>,
    pub(crate) packet: Vec<u8>,
}

/// The rate of a meter that every packet exceeds.
pub(crate) const NOTHING: MeterConfig = MeterConfig { cir: 0, cburst: 0, pir: 0, pburst: 0 };

impl PacketEngine {
    /// A frame that is parsed, or one of this side's own with these headers (bits and where each is) at its front.
    pub(crate) fn run(
        &mut self,
        frame: &[u8],
        set: impl Fn(&mut packet::Metadata),
        made: Option<&[(&str, u32, usize)]>,
        payload_at: usize,
    ) -> Became {
        let mut one = packet::Packet::default();
        one.reset();
        set(&mut one.metadata);
        match made {
            None => _ = packet::parse(frame, &mut one),
            Some(headers) => {
                one.length = (frame.len() - payload_at) as u32;
                one.payload_at = payload_at as u16;
                for (name, bit, at) in headers {
                    one.valid |= bit;
                    let at = *at as u16;
                    match *name {
                        "hdr.bth" => one.bth_at = at,
                        "hdr.deth" => one.deth_at = at,
                        "hdr.reth" => one.reth_at = at,
                        "hdr.aeth" => one.aeth_at = at,
                        "hdr.immediate" => one.immediate_at = at,
                        "hdr.ieth" => one.ieth_at = at,
                        "hdr.atomic" => one.atomic_at = at,
                        "hdr.atomic_ack" => one.atomic_ack_at = at,
                        other => panic!("nobody makes {other}"),
                    }
                }
            }
        }
        let mut called = Called::default();
        let mut burst = [one];
        let mut run = packet::Run {
            tables: &self.tables,
            banks: &mut self.banks,
            generation: self.lcore.enter(),
            now_ns: 1,
            externs: &mut called,
        };
        packet::control(&mut burst, &[frame], &mut run);
        let [mut one] = burst;
        let mut out = [0; 512];
        let emitted = packet::deparse(&mut one, frame, &mut out).expect("headers of less than 512 bytes");
        let m = &one.metadata;
        let values = [
            ("meta.outgoing", m.outgoing.into()),
            ("meta.vid", m.vid.into()),
            ("meta.pcp", m.pcp.into()),
            ("meta.local_ip", m.local_ip),
            ("meta.remote_ip", m.remote_ip),
            ("meta.remote_mac", m.remote_mac.into()),
            ("meta.tenant", m.tenant.into()),
            ("meta.payload_bytes", m.payload_bytes.into()),
            ("meta.class", m.class.into()),
            ("meta.lcore", m.lcore.into()),
            ("meta.qp", m.qp.into()),
            ("meta.congestion", m.congestion.into()),
            ("meta.verdict", m.verdict.into()),
            ("meta.reason", m.reason.into()),
            ("meta.punt", m.punt.into()),
            ("meta.cut_payload", m.cut_payload.into()),
            ("meta.datagram_bytes", m.datagram_bytes.into()),
        ];
        Became {
            values: values.into_iter().collect(),
            valid: one.valid,
            called: called.names,
            packet: [&out[..emitted], &frame[usize::from(one.payload_at)..]].concat(),
        }
    }
}
