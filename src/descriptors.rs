//! How many files and sockets this process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit to the highest that the process may give itself, as a Java virtual machine does, and returns it
/// (`None`: no limit). Clients, tailed files and segments share it.
///
/// The lower limit, often 1024, is a shield for programs that call `select`; none of ours does.
pub fn raise() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // Refused in some sandboxes; then the lower one holds.
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(_refused) => current,
    }
}

/// An error unless as many more can be opened as an agent needs to begin: its signals, its runtime and a log of its own.
/// Without that much the libraries beneath would panic where they cannot say no.
pub fn check() -> std::io::Result<()> {
    (0..LEAST)
        .map(|_| rustix::io::fcntl_dupfd_cloexec(std::io::stderr(), 0))
        .collect::<Result<Vec<_>, _>>()
        .map(drop)
        .map_err(Into::into)
}

const LEAST: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_as_high_as_it_may_be() {
        let most = getrlimit(Resource::Nofile).maximum;
        assert_eq!(raise(), most);
        assert_eq!(getrlimit(Resource::Nofile).current, most);
    }
}
