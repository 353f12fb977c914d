//! How the process ends.

use std::process::ExitCode;

/// Exit codes; the numbers of the last two are those of BSD's `sysexits.h`, which service managers know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// A clean stop, or a command that did what it was asked to.
    Clean,
    /// Something failed that is none of the below.
    Fatal,
    /// The command line is wrong.
    Usage,
    /// Another process holds a directory that is needed: trying again later may help.
    Locked,
    /// The configuration cannot be read, has errors (`check`), or leaves nothing to run (`agent`).
    Configuration,
}

impl Exit {
    /// The number that the caller sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Fatal => 1,
            Self::Usage => 2,
            Self::Locked => 75,
            Self::Configuration => 78,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}
