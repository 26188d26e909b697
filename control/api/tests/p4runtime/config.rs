//! The program: told, and set to what it is (P4Runtime 1.5.0 §14, §15); versions (§17).

use gantry_api::p4runtime::{At, Code, Limits, MemoryPlane, Pipeline, Server};
use gantry_p4_proto::config::{Preamble, Table};
use gantry_p4_proto::runtime::forwarding_pipeline_config::Cookie;
use gantry_p4_proto::runtime::get_forwarding_pipeline_config_request::ResponseType;
use gantry_p4_proto::runtime::set_forwarding_pipeline_config_request::Action;
use gantry_p4_proto::runtime::{
    CapabilitiesRequest, ForwardingPipelineConfig, GetForwardingPipelineConfigRequest,
    SetForwardingPipelineConfigRequest,
};
use gantry_p4_proto::{P4Info, text};

use crate::fixture::{
    ACCESS, AtOnce as _, DENIALS, DENY, DEVICE, OPCODES, ROUTES, TENANTS, TestServer, access, act, default_entry, id,
    index, insert, modify, pipeline, route, server, update, write,
};

fn program(cookie: Option<u64>) -> ForwardingPipelineConfig {
    ForwardingPipelineConfig {
        p4info: Some(pipeline().info().clone()),
        p4_device_config: b"the program".to_vec(),
        cookie: cookie.map(|cookie| Cookie { cookie }),
    }
}

fn set(server: &mut TestServer, action: Action, config: Option<ForwardingPipelineConfig>) -> Result<(), Code> {
    let request = SetForwardingPipelineConfigRequest {
        device_id: DEVICE,
        election_id: Some(id(1)),
        action: action.into(),
        config,
        ..SetForwardingPipelineConfigRequest::default()
    };
    server.set_config(&request).map_err(|refusal| refusal.code)
}

fn told(server: &TestServer, kind: ResponseType) -> ForwardingPipelineConfig {
    let request = GetForwardingPipelineConfigRequest { device_id: DEVICE, response_type: kind.into() };
    server.config(&request).expect("the device is right").config.expect("there is a program")
}

#[test]
fn the_program_is_told_in_four_ways() {
    let (mut server, _) = server();
    assert_eq!(told(&server, ResponseType::All), program(None));
    assert_eq!(set(&mut server, Action::ReconcileAndCommit, Some(program(Some(9)))), Ok(()));
    let whole = program(Some(9));
    assert_eq!(told(&server, ResponseType::All), whole);
    let cookie = ForwardingPipelineConfig { p4info: None, p4_device_config: vec![], ..whole.clone() };
    assert_eq!(told(&server, ResponseType::CookieOnly), cookie);
    let info = ForwardingPipelineConfig { p4_device_config: vec![], ..whole.clone() };
    assert_eq!(told(&server, ResponseType::P4infoAndCookie), info);
    let device = ForwardingPipelineConfig { p4info: None, ..whole };
    assert_eq!(told(&server, ResponseType::DeviceConfigAndCookie), device);
    let mut request = GetForwardingPipelineConfigRequest { device_id: 2, response_type: 0 };
    assert_eq!(server.config(&request).map_err(|refusal| refusal.code), Err(Code::NotFound));
    (request.device_id, request.response_type) = (DEVICE, 9);
    assert_eq!(server.config(&request).map_err(|refusal| refusal.code), Err(Code::InvalidArgument));
    let early = Server::new(DEVICE, Limits::default(), MemoryPlane::default(), None);
    request.response_type = 0;
    assert_eq!(early.config(&request).expect("no refusal").config, None);
}

#[test]
fn only_the_compiled_in_program_can_be_set() {
    let (mut server, _) = server();
    let mut other = program(None);
    other.p4info.as_mut().expect("it has one").tables.pop();
    let foreign = ForwardingPipelineConfig { p4_device_config: b"another".to_vec(), ..program(None) };
    let infoless = ForwardingPipelineConfig { p4info: None, ..program(None) };
    for action in [Action::Verify, Action::VerifyAndCommit, Action::ReconcileAndCommit] {
        assert_eq!(set(&mut server, action, Some(program(None))), Ok(()), "{action:?}");
        let bare = ForwardingPipelineConfig { p4_device_config: vec![], ..program(None) };
        assert_eq!(set(&mut server, action, Some(bare)), Ok(()), "{action:?}");
        for wrong in [Some(other.clone()), Some(foreign.clone()), Some(infoless.clone()), None] {
            assert_eq!(set(&mut server, action, wrong), Err(Code::InvalidArgument), "{action:?}");
        }
    }
    assert_eq!(set(&mut server, Action::VerifyAndSave, Some(program(None))), Err(Code::Unimplemented));
    assert_eq!(set(&mut server, Action::Commit, None), Err(Code::NotFound));
    assert_eq!(set(&mut server, Action::Commit, Some(program(None))), Err(Code::InvalidArgument));
    assert_eq!(set(&mut server, Action::Unspecified, Some(program(None))), Err(Code::InvalidArgument));
    let request = SetForwardingPipelineConfigRequest {
        device_id: DEVICE,
        election_id: Some(id(7)),
        ..SetForwardingPipelineConfigRequest::default()
    };
    assert_eq!(server.set_config(&request).map_err(|refusal| refusal.code), Err(Code::PermissionDenied));
}

fn fill(server: &mut TestServer) {
    use gantry_p4_proto::runtime::entity::Entity as E;
    use gantry_p4_proto::runtime::{DigestEntry, MeterConfig, MeterEntry, TableEntry, update::Type};
    let rates = Some(MeterConfig { cir: 1, pir: 1, ..MeterConfig::default() });
    let metered = TableEntry { meter_config: rates, ..default_entry(ACCESS, act(DENY, &[])) };
    let meter = MeterEntry { meter_id: TENANTS.0, index: index(1), config: rates, counter_data: None };
    let digest = DigestEntry { digest_id: DENIALS.0, config: None };
    let updates = vec![
        insert(route(1)),
        insert(access(1)),
        modify(metered),
        modify(default_entry(OPCODES, act(crate::fixture::ALLOW, &[]))),
        update(Type::Modify, E::MeterEntry(meter)),
        update(Type::Insert, E::DigestEntry(digest)),
    ];
    assert_eq!(write(server, updates), [Code::Ok; 6]);
}

#[test]
fn committing_empties_what_clients_wrote_and_reconciling_does_not() {
    let (mut server, _) = server();
    let fresh = format!("{:?}", server.store());
    fill(&mut server);
    let filled = format!("{:?}", server.store());
    assert_eq!(set(&mut server, Action::ReconcileAndCommit, Some(program(Some(1)))), Ok(()));
    assert_eq!(set(&mut server, Action::Verify, Some(program(Some(2)))), Ok(()));
    assert_eq!(format!("{:?}", server.store()), filled);
    assert_eq!(told(&server, ResponseType::CookieOnly).cookie, Some(Cookie { cookie: 1 }));
    assert_eq!(set(&mut server, Action::VerifyAndCommit, Some(program(Some(3)))), Ok(()));
    assert_eq!(format!("{:?}", server.store()), fresh);
    let plane = server.plane_mut();
    assert_eq!((plane.len(ROUTES), plane.len(ACCESS), plane.wants(DENIALS)), (0, 0, false));
    assert_eq!((plane.action(ACCESS, &At::Default), plane.rates(ACCESS, &At::Default)), (None, None));
    assert_eq!((plane.action(OPCODES, &At::Default), plane.cell(TENANTS, 1)), (None, None));
    fill(&mut server);
}

#[test]
fn a_data_plane_that_cannot_be_emptied_keeps_all() {
    let (mut server, _) = server();
    fill(&mut server);
    let filled = format!("{:?}", server.store());
    server.plane_mut().broken = Some(gantry_api::p4runtime::Refusal::new(Code::Unavailable, "away"));
    assert_eq!(set(&mut server, Action::VerifyAndCommit, Some(program(Some(3)))), Err(Code::Unavailable));
    assert_eq!(format!("{:?}", server.store()), filled);
    assert_eq!(told(&server, ResponseType::CookieOnly).cookie, None);
}

#[test]
fn versions() {
    let (server, _) = server();
    for device_id in [0, DEVICE] {
        let told = server.capabilities(&CapabilitiesRequest { device_id }).expect("ours");
        assert_eq!(told.p4runtime_api_version, "1.5.0");
    }
    let refusal = server.capabilities(&CapabilitiesRequest { device_id: 2 }).expect_err("not ours");
    assert_eq!(refusal.code, Code::NotFound);
}

/// P4Info with one thing changed cannot be served.
#[track_caller]
fn cannot_be_served(change: impl FnOnce(&mut P4Info)) {
    let mut info = pipeline().info().clone();
    change(&mut info);
    assert!(Pipeline::new(info, Vec::new()).is_err());
}

#[test]
fn p4info_that_contradicts_itself_is_not_served() {
    cannot_be_served(|info| info.tables.push(info.tables[0].clone()));
    cannot_be_served(|info| info.tables.push(Table::default()));
    cannot_be_served(|info| info.tables[0].preamble.as_mut().expect("it has one").id = 0x0100_0001);
    cannot_be_served(|info| info.tables[0].match_fields[1].id = 1);
    cannot_be_served(|info| info.tables[0].match_fields[0].bitwidth = 129);
    cannot_be_served(|info| info.tables[0].match_fields[0].bitwidth = 0);
    cannot_be_served(|info| info.tables[0].match_fields[0].r#match = None);
    cannot_be_served(|info| info.tables[0].action_refs[0].id = 0x0100_00ff);
    cannot_be_served(|info| info.tables[0].size = -1);
    cannot_be_served(|info| info.tables[0].implementation_id = 0x1100_0001);
    cannot_be_served(|info| info.actions[2].params[0].id = 0);
    cannot_be_served(|info| info.counters[0].size = 0);
    cannot_be_served(|info| info.counters[0].spec = None);
    cannot_be_served(|info| info.meters[0].size = i64::MAX);
    cannot_be_served(|info| info.registers[0].type_spec = None);
    cannot_be_served(|info| info.type_info = None);
    cannot_be_served(|info| {
        let preamble = Some(Preamble { name: "packet_sideways".into(), ..Preamble::default() });
        info.controller_packet_metadata[0].preamble = preamble;
    });
    assert!(Pipeline::new(text::from_text("").expect("empty text"), Vec::new()).is_ok(), "nothing can be served");
}
