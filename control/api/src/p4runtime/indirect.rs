//! Counters, meters and registers by index, and which digests are wanted (P4Runtime 1.5.0 §9.3, §9.4, §9.7, §9.8).

use gantry_p4_proto::runtime::{CounterEntry, DigestEntry, MeterEntry, RegisterEntry, digest_entry, p4_data::Data};

use super::bytestring::decode;
use super::digest::DigestConfig;
use super::message;
use super::pipeline::{Array, CounterId, Digest, DigestId, MeterId, Pipeline, RegisterId};
use super::plane::Change;
use super::shape::Shape;
use super::status::{Refusal, exists, invalid, not_found, unsupported};
use super::write::{Batch, Kind};

pub(super) fn counter_of(pipeline: &Pipeline, id: u32) -> Result<(CounterId, &Array<()>), Refusal> {
    let counter = pipeline.counters.get(&CounterId(id));
    counter.map(|counter| (CounterId(id), counter)).ok_or_else(|| invalid(format!("there is no counter {id:#010x}")))
}

pub(super) fn meter_of(
    pipeline: &Pipeline,
    id: u32,
) -> Result<(MeterId, &Array<gantry_p4_proto::config::meter_spec::Type>), Refusal> {
    let meter = pipeline.meters.get(&MeterId(id));
    meter.map(|meter| (MeterId(id), meter)).ok_or_else(|| invalid(format!("there is no meter {id:#010x}")))
}

pub(super) fn register_of(pipeline: &Pipeline, id: u32) -> Result<(RegisterId, &Array<Shape>), Refusal> {
    let register = pipeline.registers.get(&RegisterId(id));
    register.map(|found| (RegisterId(id), found)).ok_or_else(|| invalid(format!("there is no register {id:#010x}")))
}

pub(super) fn digest_of(pipeline: &Pipeline, id: u32) -> Result<(DigestId, &Digest), Refusal> {
    let digest = pipeline.digests.get(&DigestId(id));
    digest.map(|digest| (DigestId(id), digest)).ok_or_else(|| invalid(format!("there is no digest {id:#010x}")))
}

fn modify_only(kind: Kind, what: &str) -> Result<(), Refusal> {
    if kind == Kind::Modify {
        Ok(())
    } else {
        Err(invalid(format!("{what} can only be modified: their number is fixed")))
    }
}

impl Batch<'_> {
    pub(super) fn counter(&mut self, kind: Kind, given: &CounterEntry) -> Result<(), Refusal> {
        modify_only(kind, "counters")?;
        let (counter, array) = counter_of(self.pipeline, given.counter_id)?;
        self.authority.may_write(counter.0, &array.object)?;
        let index = message::index(&array.object.name, given.index.as_ref(), array.size)?;
        if let Some(data) = &given.data {
            let counts = message::counts(&array.object.name, data)?;
            self.changes.push(Change::Counter { counter, index, counts });
        }
        Ok(())
    }

    pub(super) fn meter(&mut self, kind: Kind, given: &MeterEntry) -> Result<(), Refusal> {
        modify_only(kind, "meters")?;
        let (meter, array) = meter_of(self.pipeline, given.meter_id)?;
        self.authority.may_write(meter.0, &array.object)?;
        let name = &array.object.name;
        let index = message::index(name, given.index.as_ref(), array.size)?;
        if given.counter_data.is_some() {
            return Err(unsupported(format!("{name}: counts by colour can only be read")));
        }
        let rates = given.config.as_ref().map(|config| message::rates(name, array.spec, config)).transpose()?;
        self.changes.push(Change::Meter { meter, index, rates });
        match (index, rates) {
            (Some(index), rates) => self.store.put_cell(&mut self.undo, meter, index, rates),
            (None, rates) => {
                let cells = rates.iter().flat_map(|rates| (0..array.size).map(|index| (index, *rates))).collect();
                self.store.put_cells(&mut self.undo, meter, cells);
            }
        }
        Ok(())
    }

    pub(super) fn register(&mut self, kind: Kind, given: &RegisterEntry) -> Result<(), Refusal> {
        modify_only(kind, "registers")?;
        let (register, array) = register_of(self.pipeline, given.register_id)?;
        self.authority.may_write(register.0, &array.object)?;
        let name = &array.object.name;
        let index = message::index(name, given.index.as_ref(), array.size)?;
        let value = match (&array.spec, given.data.as_ref().and_then(|data| data.data.as_ref())) {
            (Shape::Bits(bits), Some(Data::Bitstring(bytes))) => decode(bytes, *bits, name)?,
            (Shape::Enum(bits), Some(Data::EnumValue(bytes))) => decode(bytes, *bits, name)?,
            (Shape::Bool, Some(Data::Bool(value))) => u128::from(*value),
            _ => return Err(invalid(format!("{name}: the data is missing or not of the register's type"))),
        };
        self.changes.push(Change::Register { register, index, value });
        Ok(())
    }

    pub(super) fn digest(&mut self, kind: Kind, given: &DigestEntry) -> Result<(), Refusal> {
        let (id, digest) = digest_of(self.pipeline, given.digest_id)?;
        self.authority.may_write(id.0, &digest.object)?;
        let name = &digest.object.name;
        let wanted = self.store.digests.contains_key(&id);
        match (kind, wanted) {
            (Kind::Insert, true) => Err(exists(format!("{name} is already told"))),
            (Kind::Modify | Kind::Delete, false) => Err(not_found(format!("{name} is not told"))),
            (Kind::Insert | Kind::Modify, _) => {
                let config = DigestConfig::new(name, given.config.as_ref())?;
                if self.store.digests.get(&id) != Some(&config) {
                    self.changes.push(Change::Digest { digest: id, config: Some(config) });
                }
                self.store.put_digest(&mut self.undo, id, Some(config));
                Ok(())
            }
            (Kind::Delete, true) => {
                self.changes.push(Change::Digest { digest: id, config: None });
                self.store.put_digest(&mut self.undo, id, None);
                Ok(())
            }
        }
    }
}

impl DigestConfig {
    fn new(of: &str, given: Option<&digest_entry::Config>) -> Result<Self, Refusal> {
        let given = given.copied().unwrap_or_default();
        let max_timeout_ns = u64::try_from(given.max_timeout_ns);
        let max_list_size = u32::try_from(given.max_list_size);
        let ack_timeout_ns = u64::try_from(given.ack_timeout_ns);
        match (max_timeout_ns, max_list_size, ack_timeout_ns) {
            (Ok(max_timeout_ns), Ok(max_list_size), Ok(ack_timeout_ns)) => {
                Ok(Self { max_timeout_ns, max_list_size, ack_timeout_ns })
            }
            _ => Err(invalid(format!("{of}: a negative timeout or list size"))),
        }
    }
}
