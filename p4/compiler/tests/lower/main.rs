//! From the text of a program to its intermediate form: what is accepted and becomes what, and what is refused with which words.

mod actions;
mod architecture;
mod expressions;
mod externs;
mod folding;
mod from_text;
mod identifiers;
mod names;
mod packets;
mod programs;
mod show;
mod statements;
mod tables;
mod types;
