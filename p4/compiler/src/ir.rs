//! The intermediate form: what `lower` makes of a checked program, and all that the interpreter and the emitters know.
//!
//! Names are resolved, types known, constants folded, structs and headers flattened to variables of bits, direct calls of actions
//! inlined, calls inside expressions hoisted into statements of their own. There are no loops: control flows forward only (parser
//! states may not repeat either), so that a control can be run table by table over a burst.

use crate::source::Span;

/// Declares an index into one of [`Program`]'s lists.
macro_rules! index {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u32);

        impl $name {
            /// As an index of its list.
            #[must_use]
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
    )*};
}

index! {
    /// Of [`Program::vars`].
    VarId
    /// Of [`Program::headers`].
    HeaderId
    /// Of [`Program::actions`].
    ActionId
    /// Of [`Program::tables`].
    TableId
    /// Of [`Program::externs`].
    ExternId
    /// Of [`Parser::states`].
    StateId
}

/// The type of every value (P4_16 §7.1): enums and errors have become the bits that represent them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// `bool`.
    Bool,
    /// `bit<N>`, N from 1 to 128.
    Bits(u8),
}

/// A whole program.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// The file's name without its ending.
    pub name: String,
    /// The architecture's package, `PNA_NIC` for instance.
    pub package: String,
    /// Every variable of the program.
    pub vars: Vec<Var>,
    /// Header instances, in the order of the headers struct.
    pub headers: Vec<Header>,
    /// Errors by the value that represents them; `NoError` is 0 (P4_16 §7.1.2).
    pub errors: Vec<String>,
    /// What comments and annotations say of the package's instance, `main`.
    pub notes: Notes,
    /// New types (`type`, P4_16 §7.2.8) that the control plane may have to know.
    pub new_types: Vec<NewType>,
    /// Serializable and plain enums, which emitters may give names to.
    pub enums: Vec<Enum>,
    /// Named constants of the program's own files, folded, for emitters that show them.
    pub constants: Vec<Constant>,
    /// Actions of every control.
    pub actions: Vec<Action>,
    /// Tables of every control.
    pub tables: Vec<Table>,
    /// Extern instances of every block.
    pub externs: Vec<Extern>,
    /// The parser; a program whose architecture has none starts in its control.
    pub parser: Option<Parser>,
    /// The metadata that tells the control how the parser ended (PNA's `parser_error`): the architecture sets it in between.
    pub parser_error: Option<VarId>,
    /// The control.
    pub control: Option<Control>,
    /// The deparser.
    pub deparser: Option<Deparser>,
    /// Headers of packets from and to the control plane (`@controller_header`).
    pub controller_headers: Vec<ControllerHeader>,
}

/// A variable: one value of bits.
#[derive(Clone, Debug)]
pub struct Var {
    /// Its path as a reader of the program would write it: `hdr.ipv4.ttl`, `meta.qpn`, `tmp`.
    pub name: String,
    /// Its type.
    pub ty: Type,
    /// What it is part of.
    pub kind: VarKind,
    /// The enum it is of, by its place in [`Program::enums`].
    pub of_enum: Option<u32>,
    /// Where it was declared.
    pub span: Span,
}

/// What a variable is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VarKind {
    /// A field of a header instance.
    Field {
        /// Which.
        header: HeaderId,
        /// Its place in [`Header::fields`].
        field: u32,
    },
    /// A field of a struct that is a parameter of the package's blocks. Parameters of the same type share their storage, which
    /// is how an architecture hands metadata from block to block.
    Metadata {
        /// The architecture sets it before the first block.
        input: bool,
        /// The architecture looks at it after the last block.
        output: bool,
    },
    /// Declared in a block, or made by the compiler. Zero until it is assigned to.
    Local,
    /// A parameter of an action that the control plane gives.
    Parameter {
        /// Of which action.
        action: ActionId,
        /// Its place there.
        index: u32,
    },
}

/// A header instance.
#[derive(Clone, Debug)]
pub struct Header {
    /// Its path: `hdr.ipv4`.
    pub name: String,
    /// Its type's name.
    pub type_name: String,
    /// Its fields in the order of the wire.
    pub fields: Vec<Field>,
    /// Its length in bits, a multiple of 8.
    pub bits: u32,
    /// What its comments say.
    pub doc: String,
}

/// A field of a header.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its variable.
    pub var: VarId,
    /// Bits before it in the header.
    pub offset: u32,
    /// Its length in bits.
    pub bits: u8,
}

/// A new type: a name for bits that the control plane may write in another form (P4Runtime §8, user-defined types).
#[derive(Clone, Debug)]
pub struct NewType {
    /// Its name.
    pub name: String,
    /// What represents it in the data plane.
    pub ty: Type,
    /// What its comments and annotations say: `@p4runtime_translation` is one of them.
    pub notes: Notes,
}

/// An enum.
#[derive(Clone, Debug)]
pub struct Enum {
    /// Its name.
    pub name: String,
    /// Bits that represent it: as declared, or as many as its members need.
    pub bits: u8,
    /// Members and their values.
    pub members: Vec<(String, u128)>,
    /// It was declared with a representation, so its values may be compared with what is on the wire.
    pub serializable: bool,
}

/// A named constant.
#[derive(Clone, Debug)]
pub struct Constant {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: Type,
    /// Its value.
    pub value: u128,
    /// What its comments say.
    pub doc: String,
}

/// An expression with its type.
#[derive(Clone, Debug)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// The type of its value.
    pub ty: Type,
}

/// An expression. Operands have equal types but where a variant says otherwise; arithmetic is modulo 2^N (P4_16 §8.6).
#[derive(Clone, Debug)]
pub enum ExprKind {
    /// A value; 0 or 1 for `bool`.
    Const(u128),
    /// A variable.
    Var(VarId),
    /// Whether a header is valid.
    Valid(HeaderId),
    /// Bits `hi` down to `lo` of a value.
    Slice {
        /// The value.
        of: Box<Expr>,
        /// Its highest bit that counts.
        hi: u8,
        /// Its lowest.
        lo: u8,
    },
    /// To the expression's type: cut off or filled with zeros; `bool` is one bit.
    Cast(Box<Expr>),
    /// `!`, of a `bool`.
    Not(Box<Expr>),
    /// `~`.
    Complement(Box<Expr>),
    /// `-`.
    Negate(Box<Expr>),
    /// Two operands. For shifts the second is of any width; a shift by the width or more gives zero.
    Binary {
        /// The operator.
        op: BinaryOp,
        /// Its left operand.
        left: Box<Expr>,
        /// Its right operand, evaluated by `&&` and `||` only when it matters.
        right: Box<Expr>,
    },
    /// `++`: the left operand's bits above the right one's.
    Concat(Box<Expr>, Box<Expr>),
    /// `?:`.
    Choice {
        /// A `bool`.
        condition: Box<Expr>,
        /// If it holds.
        then: Box<Expr>,
        /// If not.
        otherwise: Box<Expr>,
    },
    /// As many bits as the type has, from where the parser is, which stays there (P4_16 §12.8.3). Parsers only.
    Lookahead,
    /// Bytes of the whole packet, 32 bits: `packet_in.length()` (P4_16 §12.8). Parsers only.
    Length,
}

/// Operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// `+`.
    Add,
    /// `-`.
    Sub,
    /// `|+|`.
    AddSaturating,
    /// `|-|`.
    SubSaturating,
    /// `*`.
    Mul,
    /// `&`.
    And,
    /// `|`.
    Or,
    /// `^`.
    Xor,
    /// `<<`.
    Shl,
    /// `>>`.
    Shr,
    /// `==`, a `bool`.
    Eq,
    /// `!=`, a `bool`.
    Ne,
    /// `<`, a `bool`.
    Lt,
    /// `<=`, a `bool`.
    Le,
    /// `>`, a `bool`.
    Gt,
    /// `>=`, a `bool`.
    Ge,
    /// `&&`, of `bool`s.
    LogicalAnd,
    /// `||`, of `bool`s.
    LogicalOr,
}

/// What can be assigned to: a variable, or some of its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The variable.
    pub var: VarId,
    /// Its bits `hi` down to `lo`, if not all.
    pub slice: Option<(u8, u8)>,
}

/// A statement.
#[derive(Clone, Debug)]
pub enum Stmt {
    /// `place = value`.
    Assign {
        /// To what.
        place: Place,
        /// What.
        value: Expr,
    },
    /// `setValid` and `setInvalid`. The fields of a header that becomes valid are zero until they are assigned to.
    SetValid {
        /// Which header.
        header: HeaderId,
        /// Valid from now on.
        valid: bool,
    },
    /// `if`.
    If {
        /// A `bool`.
        condition: Expr,
        /// If it holds.
        then: Vec<Stmt>,
        /// If not.
        otherwise: Vec<Stmt>,
    },
    /// A table is applied; controls only, and each table in one place only.
    Apply {
        /// Which.
        table: TableId,
        /// What depends on its outcome.
        then: Outcome,
    },
    /// A method of an extern instance, or an extern function.
    Call {
        /// Of which instance; none for a function.
        instance: Option<ExternId>,
        /// Its name: `count`, `execute`, `drop_packet`.
        function: String,
        /// Its arguments, structs and lists flattened.
        arguments: Vec<Argument>,
        /// Where its value goes.
        result: Option<Place>,
        /// Where it is written.
        span: Span,
    },
    /// `extract` (P4_16 §12.8.1); parsers only. A packet too short ends the parser with `PacketTooShort`.
    Extract(HeaderId),
    /// `advance` by so many bits; parsers only.
    Advance(Expr),
    /// `verify` (P4_16 §12.7); parsers only.
    Verify {
        /// A `bool`; if it does not hold the parser ends.
        condition: Expr,
        /// With this error.
        error: u32,
    },
    /// `emit`; deparsers only. Nothing when the header is not valid.
    Emit(HeaderId),
    /// `return`: out of the action or the block.
    Return,
    /// `exit`: out of everything (P4_16 §11.6).
    Exit,
}

/// What is done after a table was applied.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Nothing that depends on it.
    Any,
    /// `if (t.apply().hit)`; `miss` turned round.
    Hit {
        /// On a hit.
        hit: Vec<Stmt>,
        /// On a miss.
        miss: Vec<Stmt>,
    },
    /// `switch (t.apply().action_run)`.
    Action {
        /// For these actions this.
        cases: Vec<(Vec<ActionId>, Vec<Stmt>)>,
        /// For the others that.
        otherwise: Vec<Stmt>,
    },
}

/// An argument of an extern.
#[derive(Clone, Debug)]
pub enum Argument {
    /// A value.
    In(Expr),
    /// What is assigned to (`out`, and `inout` after its value was read).
    Out(Place),
}

/// The parser.
#[derive(Clone, Debug)]
pub struct Parser {
    /// Its name.
    pub name: String,
    /// Its states; the first is `start`. A state's successors come after it.
    pub states: Vec<State>,
    /// What its comments say.
    pub doc: String,
}

/// A state of the parser.
#[derive(Clone, Debug)]
pub struct State {
    /// Its name.
    pub name: String,
    /// What it does.
    pub body: Vec<Stmt>,
    /// Where it goes.
    pub transition: Transition,
}

/// Where a parser's state goes.
#[derive(Clone, Debug)]
pub enum Transition {
    /// There.
    To(Target),
    /// To the first case that matches; where none does the parser ends with `NoMatch` (P4_16 §12.6).
    Select {
        /// What is looked at.
        keys: Vec<Expr>,
        /// A match for each key, and where it leads.
        cases: Vec<(Vec<Match>, Target)>,
    },
}

/// The end of a transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Another state.
    State(StateId),
    /// The packet is parsed.
    Accept,
    /// It is not.
    Reject,
}

/// What a value is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// Anything: `_`, `default`, and what an entry leaves out.
    Any,
    /// Exactly this.
    Value(u128),
    /// `value &&& mask`.
    Mask {
        /// The bits wanted.
        value: u128,
        /// Those that count.
        mask: u128,
    },
    /// `low .. high`, both included.
    Range {
        /// The least.
        low: u128,
        /// The greatest.
        high: u128,
    },
    /// The first bits of a longest-prefix key.
    Prefix {
        /// The value, zeros behind the prefix.
        value: u128,
        /// Bits of the prefix.
        length: u8,
    },
}

/// The control.
#[derive(Clone, Debug)]
pub struct Control {
    /// Its name.
    pub name: String,
    /// What it does.
    pub body: Vec<Stmt>,
    /// What its comments say.
    pub doc: String,
}

/// The deparser.
#[derive(Clone, Debug)]
pub struct Deparser {
    /// Its name.
    pub name: String,
    /// What it does.
    pub body: Vec<Stmt>,
}

/// An action.
#[derive(Clone, Debug)]
pub struct Action {
    /// Its name for the control plane: `@name`, or control and action joined by a dot.
    pub name: String,
    /// Its P4Runtime id, prefix 0x01.
    pub id: u32,
    /// What the control plane gives with an entry.
    pub parameters: Vec<VarId>,
    /// Annotations of the parameters: `@p4runtime_translation` and the like.
    pub parameter_notes: Vec<Notes>,
    /// What it does.
    pub body: Vec<Stmt>,
    /// What its comments and annotations say.
    pub notes: Notes,
}

/// A table.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its name for the control plane.
    pub name: String,
    /// Its P4Runtime id, prefix 0x02.
    pub id: u32,
    /// What is looked up.
    pub keys: Vec<Key>,
    /// Actions that entries may name.
    pub actions: Vec<TableAction>,
    /// What is done on a miss, with arguments for the control plane's parameters.
    pub default_action: (ActionId, Vec<u128>),
    /// The control plane may not change that.
    pub const_default: bool,
    /// Entries that are always there, the most important first.
    pub entries: Vec<Entry>,
    /// The control plane may add no others.
    pub const_entries: bool,
    /// Entries that there is room for.
    pub size: u32,
    /// Direct counters and meters.
    pub direct: Vec<ExternId>,
    /// Entries may have a time after which they are told to be idle (`pna_idle_timeout`).
    pub idle_timeout: bool,
    /// What its comments and annotations say.
    pub notes: Notes,
    /// Where it was declared.
    pub span: Span,
}

/// A part of a table's key.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its name for the control plane.
    pub name: String,
    /// What is looked up.
    pub expr: Expr,
    /// How.
    pub kind: MatchKind,
    /// What its annotations say.
    pub notes: Notes,
}

/// How a key is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchKind {
    /// All bits.
    Exact,
    /// A prefix; the longest wins. At most one in a table.
    Lpm,
    /// Bits under a mask; the highest priority wins.
    Ternary,
    /// Between two values; the highest priority wins.
    Range,
    /// All bits or anything; the highest priority wins.
    Optional,
}

/// An action of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableAction {
    /// Which.
    pub action: ActionId,
    /// Where it may be used.
    pub scope: ActionScope,
}

/// Where an action may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionScope {
    /// In entries and as default action.
    Both,
    /// `@tableonly`.
    Entries,
    /// `@defaultonly`.
    Default,
}

/// An entry that the program itself brings.
#[derive(Clone, Debug)]
pub struct Entry {
    /// A match for each key.
    pub matches: Vec<Match>,
    /// Greater is more important; 0 where keys alone decide.
    pub priority: i32,
    /// What is done.
    pub action: ActionId,
    /// Arguments for the control plane's parameters.
    pub arguments: Vec<u128>,
}

/// An extern instance.
#[derive(Clone, Debug)]
pub struct Extern {
    /// Its name for the control plane.
    pub name: String,
    /// Its P4Runtime id; 0 for those that the control plane does not know.
    pub id: u32,
    /// What it is.
    pub kind: ExternKind,
    /// What its comments and annotations say.
    pub notes: Notes,
    /// Where it was declared.
    pub span: Span,
}

/// What counters and meters count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Packets.
    Packets,
    /// Bytes.
    Bytes,
    /// Both; counters only.
    PacketsAndBytes,
}

/// Externs of the Portable NIC Architecture (0.7 §7), and others by their name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExternKind {
    /// `Counter`, id prefix 0x12.
    Counter {
        /// Cells.
        size: u32,
        /// What it counts.
        unit: Unit,
    },
    /// `DirectCounter`, id prefix 0x13.
    DirectCounter {
        /// What it counts.
        unit: Unit,
        /// Of which table.
        table: TableId,
    },
    /// `Meter`, two rates and three colours (RFC 2698), id prefix 0x14.
    Meter {
        /// Cells.
        size: u32,
        /// What it meters.
        unit: Unit,
    },
    /// `DirectMeter`, id prefix 0x15.
    DirectMeter {
        /// What it meters.
        unit: Unit,
        /// Of which table.
        table: TableId,
    },
    /// `Register`, id prefix 0x16.
    Register {
        /// Cells.
        size: u32,
        /// Bits of a cell.
        bits: u8,
    },
    /// `Digest`, id prefix 0x17: its fields' names and types.
    Digest {
        /// The fields, in order.
        fields: Vec<(String, Type)>,
        /// The struct's name.
        type_name: String,
    },
    /// `Hash`.
    Hash {
        /// The algorithm's name: `CRC32` and the like.
        algorithm: String,
        /// Bits of the result.
        bits: u8,
    },
    /// `InternetChecksum`.
    InternetChecksum,
    /// One of the project's own: its type's name and the constructor's arguments.
    Other {
        /// The type's name.
        type_name: String,
        /// Constant arguments.
        arguments: Vec<u128>,
    },
}

/// Headers of packets from and to the control plane.
#[derive(Clone, Debug)]
pub struct ControllerHeader {
    /// `packet_in` or `packet_out`.
    pub name: String,
    /// Its P4Runtime id, prefix 0x04 (P4Runtime §6.3).
    pub id: u32,
    /// Its fields' names and bits.
    pub fields: Vec<(String, u8)>,
}

/// What is told about an object besides its meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// The first paragraph of the comment before it, or `@brief`.
    pub brief: String,
    /// The rest, or `@description`.
    pub description: String,
    /// Annotations that nothing else shows, as they were written: `@p4runtime_translation("…", 32)`.
    pub annotations: Vec<String>,
    /// Of keys and parameters: the new type they were declared with, by its name; empty where there is none.
    pub new_type: String,
}

impl Type {
    /// Bits of a value: one for `bool`.
    #[must_use]
    pub fn bits(self) -> u8 {
        match self {
            Self::Bool => 1,
            Self::Bits(bits) => bits,
        }
    }

    /// All ones.
    #[must_use]
    pub fn mask(self) -> u128 {
        u128::MAX >> (128 - u32::from(self.bits()))
    }
}
