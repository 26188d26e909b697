//! The card itself: housekeeping and an lcore, as the simulator has them.

use gantry_api::p4runtime::Code;
use gantry_control::{Configuration, Port};
use gantry_p4_proto::runtime::entity::Entity as E;
use gantry_p4_proto::runtime::write_request::Atomicity;
use gantry_p4_proto::runtime::{
    CounterData, DigestEntry, DirectCounterEntry, Index, MeterConfig, MeterEntry, TableEntry, update,
};
use gantry_pipeline::state::Sizes;
use gantry_sim::card::Card;

use crate::bed::{ACCESS, Bed, Peer, act, change, codes, delete, denied, info, insert, modify, table, tenant};

struct RealCard {
    card: Card,
    now_ns: u64,
}

const SIZES: Sizes = Sizes { qps: 4, commands: 64, pages: 64, namespaces: 8, addresses: 4 };

impl RealCard {
    fn new() -> Self {
        Self { card: Card::new(0, 1, SIZES, 5, 1), now_ns: 1 }
    }
}

impl Peer for RealCard {
    fn take(&mut self, datagram: &[u8]) -> Vec<Vec<u8>> {
        self.card.housekeeping.handle_frame(self.now_ns, datagram);
        for _ in 0..4 {
            self.now_ns += 1_000;
            self.card.poll_lcores(self.now_ns);
            self.card.keep_house(self.now_ns);
        }
        std::iter::from_fn(|| self.card.housekeeping.poll_frame()).collect()
    }

    fn hang_up(&mut self) {
        self.card.housekeeping.disconnected();
    }
}

fn bed() -> Bed<RealCard> {
    let port = Port {
        name: "wire0".into(),
        device: "wire:net0".into(),
        mtu: 1500,
        vlan: 0,
        addresses: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
    };
    Bed::new(RealCard::new(), Configuration { epoch: 1, ports: vec![port], ..Configuration::default() })
}

#[test]
fn a_client_programs_the_card() {
    let mut bed = bed();
    let default = TableEntry {
        table_id: table(ACCESS),
        action: act("PacketControl.deny"),
        is_default_action: true,
        ..TableEntry::default()
    };
    let meter_id = info().meters[0].preamble.as_ref().unwrap().id;
    let config = MeterConfig { cir: 1000, cburst: 2000, pir: 3000, pburst: 4000, ..MeterConfig::default() };
    let meter = MeterEntry { meter_id, index: Some(Index { index: 5 }), config: Some(config), ..MeterEntry::default() };
    let digest_id = info().digests[0].preamble.as_ref().unwrap().id;
    let counted = DirectCounterEntry {
        table_entry: Some(denied(1)),
        data: Some(CounterData { packet_count: 9, byte_count: 900 }),
    };
    bed.must(vec![
        insert(denied(1)),
        change(update::Type::Modify, E::DirectCounterEntry(counted.clone())),
        insert(denied(2)),
        insert(tenant(7)),
        modify(default),
        change(update::Type::Modify, E::MeterEntry(meter)),
        change(update::Type::Insert, E::DigestEntry(DigestEntry { digest_id, config: None })),
    ]);
    bed.must(vec![modify(TableEntry { action: act("PacketControl.allow"), ..denied(2) }), delete(tenant(7))]);
    let asked = DirectCounterEntry { table_entry: Some(denied(1)), data: None };
    let read = bed.read(E::DirectCounterEntry(asked)).unwrap();
    let [E::DirectCounterEntry(found)] = &read[..] else { panic!("{read:?}") };
    assert_eq!(found.data, counted.data);
    // gantryd dies; the next one finds all of it, in the card and nowhere else.
    let before = bed.entries(TableEntry::default());
    assert_eq!(before.iter().filter(|entry| entry.table_id == table(ACCESS)).count(), 2);
    bed.restart_gantryd(2);
    assert_eq!(bed.entries(TableEntry::default()), before);
    bed.must(vec![delete(denied(1))]);
    let again = bed.write(vec![insert(denied(2))], Atomicity::ContinueOnError);
    assert_eq!(codes(again), [Code::AlreadyExists as i32]);
}

#[test]
fn a_card_that_starts_anew_gets_it_all() {
    let mut bed = bed();
    bed.must((1..=200).map(|source| insert(denied(source))).collect());
    let before = bed.entries(TableEntry { table_id: table(ACCESS), ..TableEntry::default() });
    bed.disconnect();
    bed.peer = RealCard { card: Card::new(0, 1, SIZES, 6, 1), now_ns: 1 };
    bed.connect();
    assert_eq!(bed.entries(TableEntry { table_id: table(ACCESS), ..TableEntry::default() }), before);
    // It is in the card: a gantryd that knows nothing finds it there.
    bed.restart_gantryd(2);
    assert_eq!(bed.entries(TableEntry { table_id: table(ACCESS), ..TableEntry::default() }), before);
}

#[test]
fn what_housekeeping_fills_can_be_read() {
    let mut bed = bed();
    let addresses =
        bed.entries(TableEntry { table_id: table("PacketControl.local_addresses"), ..TableEntry::default() });
    assert_eq!(addresses.len(), 2, "{addresses:?}");
    assert!(addresses.iter().all(|entry| entry.is_const && entry.action.is_some()));
    assert!(bed.entries(TableEntry { table_id: table("PacketControl.qps"), ..TableEntry::default() }).is_empty());
}
