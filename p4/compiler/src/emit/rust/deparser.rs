//! The deparser: the valid headers it emits, one behind the other.

use proc_macro2::TokenStream;
use quote::quote;

use crate::ir::Stmt;

use super::externs;
use super::function::{Block, Function};
use super::plan::Plan;

/// `deparse`.
pub(super) fn emit(plan: &Plan<'_>) -> TokenStream {
    let Some(deparser) = &plan.program.deparser else { return TokenStream::new() };
    let calls = externs::deparser_calls(plan);
    let (generics, extra) = externs::parameters(calls);
    let mut function = Function::new(plan, Block::Deparser);
    let body: Vec<&Stmt> = deparser.body.iter().collect();
    let body = function.top(&body);
    quote! {
        /// Writes the headers that leave, those of the frame with what the program changed in them. The payload, from
        /// [`Packet::payload_at`] on, is the caller's to put behind.
        ///
        /// Gives their length, or nothing where `out` is too short.
        pub fn deparse #generics(packet: &mut Packet, frame: &[u8], out: &mut [u8] #extra) -> Option<usize> {
            let mut at = 0;
            #body
            Some(at)
        }
    }
}
