//! Batches: one outcome an update, and the three atomicities (P4Runtime 1.5.0 §12.2).

use gantry_api::p4runtime::{Code, Refusal};
use gantry_p4_proto::runtime::write_request::Atomicity;
use gantry_p4_proto::runtime::{MeterEntry, Update, entity::Entity as E, update};

use crate::fixture::{
    ACCESS, AtOnce as _, ROUTES, TENANTS, TestServer, access, act, codes, default_entry, delete, index, insert, modify,
    request, route, server, update as entity,
};

fn write(server: &mut TestServer, atomicity: Atomicity, updates: Vec<Update>) -> Vec<Code> {
    let many = updates.len();
    let outcome = server.write(&request(updates, atomicity));
    codes(many, outcome)
}

const ALL_OR_NONE: [Atomicity; 2] = [Atomicity::RollbackOnError, Atomicity::DataplaneAtomic];

#[test]
fn continue_on_error_leaves_out_what_fails() {
    let (mut server, _) = server();
    let updates = vec![insert(route(1)), insert(access(0)), insert(route(1)), insert(route(2)), delete(route(3))];
    let codes = write(&mut server, Atomicity::ContinueOnError, updates);
    assert_eq!(codes, [Code::Ok, Code::InvalidArgument, Code::AlreadyExists, Code::Ok, Code::NotFound]);
    assert_eq!((server.plane_mut().len(ROUTES), server.plane_mut().commits), (2, 1), "one transaction for the rest");
}

#[test]
fn updates_see_those_before_them() {
    let (mut server, _) = server();
    let updates = vec![insert(route(1)), modify(route(1)), delete(route(1)), insert(route(1))];
    for atomicity in ALL_OR_NONE {
        let mut updates = updates.clone();
        updates.push(delete(route(1)));
        assert_eq!(write(&mut server, atomicity, updates), [Code::Ok; 5]);
    }
    assert_eq!(write(&mut server, Atomicity::ContinueOnError, updates), [Code::Ok; 4]);
    assert_eq!(server.plane_mut().len(ROUTES), 1);
}

#[test]
fn all_or_none_makes_none_if_one_fails() {
    for atomicity in ALL_OR_NONE {
        let (mut server, _) = server();
        let meter =
            MeterEntry { meter_id: TENANTS.0, index: index(1), config: Some(Default::default()), counter_data: None };
        let updates = vec![
            insert(route(1)),
            modify(default_entry(ACCESS, act(crate::fixture::DENY, &[]))),
            entity(update::Type::Modify, E::MeterEntry(meter)),
            insert(route(1)),
            insert(route(2)),
        ];
        let before = format!("{:?}", server.store());
        let codes = write(&mut server, atomicity, updates);
        assert_eq!(codes, [Code::Aborted, Code::Aborted, Code::Aborted, Code::AlreadyExists, Code::Aborted]);
        assert_eq!(server.plane_mut().commits, 0);
        assert_eq!(format!("{:?}", server.store()), before);
    }
}

#[test]
fn what_the_data_plane_refuses_is_not_there() {
    for atomicity in ALL_OR_NONE {
        let (mut server, _) = server();
        server.plane_mut().room = Some((ROUTES, 2));
        let updates = vec![insert(access(1)), insert(route(1)), insert(route(2)), insert(route(3)), insert(route(4))];
        let codes = write(&mut server, atomicity, updates);
        assert_eq!(codes, [Code::Aborted, Code::Aborted, Code::Aborted, Code::ResourceExhausted, Code::Aborted]);
        assert_eq!((server.store().len(ROUTES), server.store().len(ACCESS), server.plane_mut().len(ROUTES)), (0, 0, 0));
    }
}

#[test]
fn continue_on_error_finds_out_which_the_data_plane_refuses() {
    let (mut server, _) = server();
    server.plane_mut().room = Some((ROUTES, 2));
    let updates = vec![insert(route(1)), insert(route(2)), insert(route(3)), insert(access(1)), insert(access(0))];
    let codes = write(&mut server, Atomicity::ContinueOnError, updates);
    assert_eq!(codes, [Code::Ok, Code::Ok, Code::ResourceExhausted, Code::Ok, Code::InvalidArgument]);
    assert_eq!((server.store().len(ROUTES), server.plane_mut().len(ROUTES)), (2, 2));
    assert_eq!((server.store().len(ACCESS), server.plane_mut().len(ACCESS)), (1, 1));
}

#[test]
fn a_data_plane_that_is_away_leaves_everything_as_it_was() {
    for atomicity in [Atomicity::ContinueOnError, Atomicity::RollbackOnError, Atomicity::DataplaneAtomic] {
        let (mut server, _) = server();
        server.plane_mut().broken = Some(Refusal::new(Code::Unavailable, "the data plane restarts"));
        assert_eq!(write(&mut server, atomicity, vec![insert(route(1)), insert(route(2))]), [Code::Unavailable; 2]);
        assert_eq!(server.store().len(ROUTES), 0);
        server.plane_mut().broken = None;
        assert_eq!(write(&mut server, atomicity, vec![insert(route(1)), insert(route(2))]), [Code::Ok; 2]);
    }
}

#[test]
fn an_unknown_atomicity_and_an_empty_batch() {
    let (mut server, _) = server();
    let mut unknown = request(vec![insert(route(1))], Atomicity::ContinueOnError);
    unknown.atomicity = 7;
    assert_eq!(server.write(&unknown).map_err(|failure| failure.refusal.code), Err(Code::InvalidArgument));
    assert_eq!(write(&mut server, Atomicity::DataplaneAtomic, Vec::new()), []);
    assert_eq!(server.plane_mut().commits, 0);
}

/// Random batches in all atomicities against a plane that refuses some: the store and the plane always agree.
#[test]
fn the_store_is_what_the_data_plane_has() {
    let (mut server, _) = server();
    server.plane_mut().room = Some((ROUTES, 24));
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let (mut failed, mut done) = (0, 0);
    for _ in 0..2000 {
        let updates = (0..=random(6))
            .map(|_| {
                let entry = route(u8::try_from(random(40)).expect("below 40"));
                match random(5) {
                    0 => delete(entry),
                    1 => modify(entry),
                    _ => insert(entry),
                }
            })
            .collect();
        let atomicity =
            [Atomicity::ContinueOnError, ALL_OR_NONE[0], ALL_OR_NONE[1]][usize::try_from(random(3)).expect("small")];
        let codes = write(&mut server, atomicity, updates);
        done += codes.iter().filter(|code| **code == Code::Ok).count();
        failed += codes.iter().filter(|code| **code != Code::Ok).count();
        let wanted: Vec<_> =
            server.store().entries(ROUTES).map(|(key, entry)| (key.clone(), entry.action.clone())).collect();
        assert_eq!(server.plane_mut().len(ROUTES), wanted.len());
        for (key, action) in wanted {
            let at = gantry_api::p4runtime::At::Entry(key);
            assert_eq!(server.plane_mut().action(ROUTES, &at), action.as_ref());
        }
    }
    assert!(done > 500 && failed > 500, "{done} done, {failed} failed");
}
