//! `vfio-user:/path[,option…]`.

use std::path::PathBuf;

/// Where a drive is served, and how its doorbells are to be rung.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Uri {
    /// The socket.
    pub path: PathBuf,
    /// How doorbells are rung.
    pub doorbells: Doorbells,
}

/// How doorbells reach the other process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Doorbells {
    /// Mapped when the server offers them in memory that it cannot take away again (sealed against shrinking); else forwarded.
    #[default]
    Safe,
    /// Mapped whenever they are offered: a server that truncates their file ends the data plane.
    Mapped,
    /// Always forwarded by housekeeping.
    Forwarded,
}

impl Uri {
    /// The scheme, with its colon.
    pub const SCHEME: &str = "vfio-user:";

    /// Reads a URI.
    ///
    /// # Errors
    /// What is wrong with it and what to write, as one line.
    pub fn parse(uri: &str) -> Result<Uri, String> {
        let rest = uri.strip_prefix(Self::SCHEME).ok_or_else(|| format!("{uri}: write vfio-user:/path"))?;
        let mut parts = rest.split(',');
        let path = parts.next().unwrap_or_default();
        if !path.starts_with('/') {
            return Err(format!("{uri}: the socket needs an absolute path, as in vfio-user:/run/drive.sock"));
        }
        let mut doorbells = Doorbells::default();
        for part in parts {
            match part {
                "doorbells=mapped" => doorbells = Doorbells::Mapped,
                "doorbells=forwarded" => doorbells = Doorbells::Forwarded,
                // Every drive's; who drives it reads it.
                "sgl=off" => {}
                _ => {
                    return Err(format!(
                        "{uri}: unknown option '{part}'; there are doorbells=mapped, doorbells=forwarded and sgl=off"
                    ));
                }
            }
        }
        Ok(Uri { path: path.into(), doorbells })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_meant() {
        let of = |uri| Uri::parse(uri).unwrap();
        assert_eq!(of("vfio-user:/run/x.sock"), Uri { path: "/run/x.sock".into(), doorbells: Doorbells::Safe });
        assert_eq!(of("vfio-user:/x,doorbells=mapped").doorbells, Doorbells::Mapped);
        assert_eq!(of("vfio-user:/x,doorbells=forwarded,sgl=off").doorbells, Doorbells::Forwarded);
    }

    #[test]
    fn an_error_names_the_part_and_the_remedy() {
        let text = |uri| Uri::parse(uri).unwrap_err();
        assert!(text("vfio-user:x.sock").contains("absolute path"));
        assert!(text("vfio-user:").contains("absolute path"));
        assert!(text("vfio-user:/x,doorbells=fast").contains("unknown option 'doorbells=fast'"));
        assert!(text("mem:1M").contains("write vfio-user:/path"));
    }
}
