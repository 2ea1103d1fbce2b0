//! Names of what is timed: commands, and classes of turns.
//!
//! Owns both lists and which command belongs to which class. Must not know protocols: a packet has the kind of the text
//! command that does the same. `proto` notes the kind of each command.

/// Defines an enum of names, packed as one byte, with a list of all.
macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        #[allow(missing_docs)] // each is the command of the same name
        pub enum $name { $($variant),* }

        impl $name {
            /// All, in the order of their rows.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Name in rows and labels.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

            /// The one that `name` names.
            pub fn named(name: &[u8]) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.name().as_bytes() == name)
            }
        }
    };
}

names! {
    /// Kind of a command. `Multiget` is a `get`, `gets`, `gat` or `gats` of more than one key, `Admin` a report or a
    /// command that changes settings, `Other` everything else, refused lines among it.
    CommandKind {
        Other = "other",
        Get = "get",
        Multiget = "multiget",
        Gat = "gat",
        Set = "set",
        Add = "add",
        Replace = "replace",
        Append = "append",
        Prepend = "prepend",
        Cas = "cas",
        Delete = "delete",
        Incr = "incr",
        Decr = "decr",
        Touch = "touch",
        MetaGet = "mg",
        MetaSet = "ms",
        MetaDelete = "md",
        MetaArith = "ma",
        MetaInspect = "me",
        MetaNoop = "mn",
        Admin = "admin",
    }
}

names! {
    /// Class of a turn: that of its one command, or `Batch`. `Other` includes turns that end no command, such as one
    /// that reads a part of a value.
    TurnClass {
        Get = "get",
        Multiget = "multiget",
        Set = "set",
        Delete = "delete",
        Arith = "arith",
        Touch = "touch",
        Meta = "meta",
        Batch = "batch",
        Admin = "admin",
        Other = "other",
    }
}

impl TurnClass {
    /// Class of a turn with `commands` commands, the last of which was of `kind`.
    #[inline]
    pub fn of(kind: CommandKind, commands: u32) -> Self {
        if commands > 1 { Self::Batch } else { kind.class() }
    }
}

impl CommandKind {
    /// Class of a turn that runs only this command.
    #[inline]
    pub const fn class(self) -> TurnClass {
        match self {
            Self::Get | Self::Gat => TurnClass::Get,
            Self::Multiget => TurnClass::Multiget,
            Self::Set | Self::Add | Self::Replace | Self::Append | Self::Prepend | Self::Cas => TurnClass::Set,
            Self::Delete => TurnClass::Delete,
            Self::Incr | Self::Decr => TurnClass::Arith,
            Self::Touch => TurnClass::Touch,
            Self::MetaGet | Self::MetaSet | Self::MetaDelete | Self::MetaArith | Self::MetaInspect | Self::MetaNoop => {
                TurnClass::Meta
            }
            Self::Admin => TurnClass::Admin,
            Self::Other => TurnClass::Other,
        }
    }
}
