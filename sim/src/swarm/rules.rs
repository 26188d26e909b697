//! Access rules and rates, as a P4Runtime client would have them written: each is given to control again until it is so, or
//! cannot be otherwise, whoever dies meanwhile.

use std::collections::VecDeque;

use gantry::channel::session::Reason;
use gantry::channel::table::{Field, FieldKind, MeterWrite, Verb, emit_entry};
use gantry::{command, packet};
use gantry_control::{TableEvent, TableOperation};
use zerocopy::{FromZeros, IntoBytes};

use super::fault::{Denial, Throttle};
use crate::world::World;

/// How long control is given for an answer, and left alone after a refusal.
const PATIENCE_NS: u64 = 50_000_000;

/// What is to be written to each card's tables.
pub(super) struct Rules(Vec<Clerk>);

#[derive(Clone, Default)]
struct Clerk {
    /// Transactions to be made, in order. Each may be made twice.
    orders: VecDeque<Vec<TableOperation>>,
    /// The first has been given to control under this number.
    asked: Option<u64>,
    ticket: u64,
    /// When control is asked, or asked again.
    next_ns: u64,
}

impl Clerk {
    fn hear(&mut self, event: TableEvent) -> Option<bool> {
        match event {
            TableEvent::Committed { ticket } if self.asked == Some(ticket) => Some(true),
            // It was so already: a transaction whose answer got lost.
            TableEvent::Refused { ticket, reason, .. } if self.asked == Some(ticket) => {
                Some(matches!(reason, Some(Reason::Exists | Reason::NotFound)))
            }
            TableEvent::Closed(_) => Some(false),
            _ => None,
        }
    }
}

impl Rules {
    pub(super) fn new(targets: usize) -> Self {
        Self(vec![Clerk::default(); targets])
    }

    /// Whether all is written.
    pub(super) fn is_idle(&self) -> bool {
        self.0.iter().all(|clerk| clerk.orders.is_empty())
    }

    /// When somebody must be asked.
    pub(super) fn next_ns(&self) -> u64 {
        let waiting = self.0.iter().filter(|clerk| !clerk.orders.is_empty());
        waiting.map(|clerk| clerk.next_ns).min().unwrap_or(u64::MAX)
    }

    /// Control is asked, and heard.
    pub(super) fn tend(&mut self, world: &mut World, now_ns: u64) {
        for (target, clerk) in self.0.iter_mut().enumerate().filter(|(_, clerk)| !clerk.orders.is_empty()) {
            let control = world.target_at(target).control();
            control.serve_tables();
            while let Some(event) = control.poll_table_event() {
                if let Some(done) = clerk.hear(event) {
                    clerk.asked = None;
                    clerk.next_ns = if done { now_ns } else { now_ns + PATIENCE_NS };
                    if done {
                        clerk.orders.pop_front();
                    }
                }
            }
            if now_ns < clerk.next_ns {
                continue;
            }
            // One that was asked has died with the answer.
            let Some(order) = clerk.orders.front() else { continue };
            clerk.ticket += 1;
            clerk.asked = Some(clerk.ticket);
            clerk.next_ns = now_ns + PATIENCE_NS;
            control.commit_tables(clerk.ticket, order.clone());
        }
    }

    /// Keeps a host out, or lets it in again. A rule is told from others by its priority.
    pub(super) fn deny(&mut self, target: usize, priority: u32, source: [u8; 16], how: Denial, begins: bool) {
        let action = match how {
            Denial::Silent => "PacketControl.deny",
            Denial::Told => "PacketControl.deny_and_tell",
            Denial::Shown => "PacketControl.punt_to_client",
        };
        let any = Field::new(FieldKind::Any, 0, 0, 0);
        let source = Field::new(FieldKind::Mask, 0, u128::from_be_bytes(source), u128::MAX);
        let rule = entry("PacketControl.access", priority, &[any, source, any, any, any], begins.then_some(action));
        self.0[target].orders.push_back(vec![rule]);
    }

    /// Holds the tenant of all to a rate, or lets it go.
    pub(super) fn throttle(&mut self, target: usize, what: Throttle, rate: u64, begins: bool) {
        let meter = match what {
            Throttle::Bytes => {
                let tenant = Field::new(FieldKind::Value, 0, 0, 0);
                let police = entry("PacketControl.tenants", 0, &[tenant], Some("PacketControl.police"));
                if begins {
                    self.0[target].orders.push_back(vec![police]);
                }
                packet::METERS.iter().find(|meter| meter.name == "PacketControl.tenant_rate").map(|meter| meter.id)
            }
            Throttle::Commands => {
                command::METERS.iter().find(|meter| meter.name == "Command.tenant_commands").map(|meter| meter.id)
            }
        };
        // Enough at once for the longest packet.
        let burst = if what == Throttle::Bytes { 16_384 } else { 4 };
        let write = MeterWrite {
            object: meter.expect("a meter of the programs").into(),
            configured: u32::from(begins).into(),
            cir: rate.into(),
            cburst: burst.into(),
            pir: rate.into(),
            pburst: burst.into(),
            ..MeterWrite::new_zeroed()
        };
        self.0[target].orders.push_back(vec![TableOperation::Meter(write.as_bytes().to_vec())]);
    }
}

/// An entry that does this, or is to go.
fn entry(table: &str, priority: u32, fields: &[Field], action: Option<&str>) -> TableOperation {
    let table = packet::TABLES.iter().find(|known| known.name == table).expect("a table of the program");
    let id = |name: &str| table.actions.iter().find(|known| known.name == name).expect("an action of the table").id;
    let (verb, action) = action.map_or((Verb::Delete, 0), |name| (Verb::Insert, id(name)));
    let mut bytes = Vec::new();
    emit_entry(&mut bytes, verb, table.id, priority, fields, action, [].into_iter(), 0, &[]);
    TableOperation::Entry(bytes)
}
