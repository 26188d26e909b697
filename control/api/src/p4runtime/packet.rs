//! Packets to and from clients, and entries that are idle (P4Runtime 1.5.0 §16.1, §16.4).

use gantry_p4_proto::runtime::{
    IdleTimeoutNotification, PacketIn, PacketMetadata, PacketOut, StreamMessageResponse, TableEntry,
    stream_message_response,
};

use super::bytestring::{decode, encode};
use super::entry::Key;
use super::message;
use super::pipeline::TableId;
use super::plane::{At, Plane};
use super::server::Server;
use super::status::{Refusal, invalid};

impl<P: Plane> Server<P> {
    /// A packet for clients: the values of `packet_in`'s fields in P4Info's order, and the bytes behind them. Every role's primary
    /// gets it whose role gets packets.
    ///
    /// # Panics
    /// If the program has no `packet_in`, or the values are not as many as it has.
    pub fn handle_packet_in(&mut self, metadata: &[u128], payload: &[u8]) {
        let Some(pipeline) = self.pipeline.clone() else { return };
        let fields = pipeline.packet_in.as_ref().expect("the program has packets for clients");
        assert_eq!(metadata.len(), fields.len(), "values of packet_in");
        let metadata = fields
            .iter()
            .zip(metadata)
            .map(|(field, value)| PacketMetadata { metadata_id: field.id, value: encode(*value) })
            .collect();
        let packet = PacketIn { payload: payload.to_vec(), metadata };
        let message = StreamMessageResponse { update: Some(stream_message_response::Update::Packet(packet)) };
        self.tell_primaries(super::role::Authority::packet_in, &message);
    }

    pub(super) fn packet_out(&mut self, packet: &PacketOut) -> Result<(), Refusal> {
        let pipeline = self.pipeline.clone().ok_or_else(super::write::no_pipeline)?;
        let Some(fields) = &pipeline.packet_out else {
            return Err(invalid("the program takes no packets from clients"));
        };
        if packet.metadata.len() != fields.len() {
            let (given, needed) = (packet.metadata.len(), fields.len());
            return Err(invalid(format!("packet_out has {needed} fields, the packet {given}")));
        }
        let mut values = Vec::with_capacity(fields.len());
        for field in fields {
            let found = packet.metadata.iter().find(|given| given.metadata_id == field.id);
            let Some(found) = found else {
                return Err(invalid(format!("packet_out: the field {} is missing", field.name)));
            };
            values.push(decode(&found.value, field.bits, &field.name)?);
        }
        self.plane.packet_out(&values, &packet.payload)
    }

    /// Entries that no packet has hit for as long as their idle timeout says. Those that have gone meanwhile, or have no timeout
    /// any more, are passed over. A data plane tells an entry again when as much time has gone by once more.
    pub fn handle_idle(&mut self, now_ns: u64, table: TableId, keys: &[Key]) {
        let Some(pipeline) = self.pipeline.clone() else { return };
        let Some(declared) = pipeline.tables.get(&table) else { return };
        let idle: Vec<TableEntry> = keys
            .iter()
            .filter_map(|key| {
                let entry = self.store.entry(table, &At::Entry(key.clone()))?;
                (entry.idle_timeout_ns != 0).then(|| {
                    #[allow(deprecated)]
                    TableEntry {
                        table_id: table.0,
                        r#match: message::key_message(declared, key),
                        priority: key.priority(),
                        controller_metadata: entry.note.controller_metadata,
                        metadata: entry.note.metadata.clone(),
                        idle_timeout_ns: i64::try_from(entry.idle_timeout_ns).unwrap_or(i64::MAX),
                        ..TableEntry::default()
                    }
                })
            })
            .collect();
        for portion in idle.chunks(self.limits.entities_a_message) {
            let notice = IdleTimeoutNotification {
                table_entry: portion.to_vec(),
                timestamp: i64::try_from(now_ns).unwrap_or(i64::MAX),
            };
            let update = stream_message_response::Update::IdleTimeoutNotification(notice);
            let message = StreamMessageResponse { update: Some(update) };
            self.tell_primaries(|authority| authority.covers(table.0), &message);
        }
    }
}
