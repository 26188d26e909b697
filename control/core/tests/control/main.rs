//! Control's core against a scripted data plane and a scripted host: stories on a virtual clock.

mod admin;
mod adopt;
mod cm;
mod connect;
mod ending;
mod hostile;
mod kill;
mod plane;
mod replay;
mod session;
mod spoilt;
mod table_plane;
mod tables;
