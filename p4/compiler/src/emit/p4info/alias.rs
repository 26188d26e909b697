//! Short names: the shortest suffix of an object's name that no other object of its kind ends with (P4Runtime §6.1.1).

/// The names of one kind of object.
pub(super) struct Aliases {
    names: Vec<String>,
}

impl Aliases {
    pub(super) fn of<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        Self { names: names.into_iter().map(|name| absolute(name).to_owned()).collect() }
    }

    /// The alias of one of them; its whole name where every suffix is another's too.
    pub(super) fn of_name(&self, name: &str) -> String {
        let name = absolute(name);
        let mut suffixes: Vec<&str> = name.match_indices('.').map(|(dot, _)| &name[dot + 1..]).collect();
        suffixes.reverse();
        let unique = |suffix: &&str| self.names.iter().filter(|other| has_suffix(other, suffix)).count() == 1;
        suffixes.into_iter().find(unique).unwrap_or(name).to_owned()
    }
}

/// A name from the outermost scope is written with a dot before it (`@name(".t")`), which is no part of it.
pub(super) fn absolute(name: &str) -> &str {
    name.strip_prefix('.').unwrap_or(name)
}

/// What is behind the last dot.
pub(super) fn last(name: &str) -> &str {
    name.rsplit('.').next().expect("there is always a last part")
}

fn has_suffix(name: &str, suffix: &str) -> bool {
    name.strip_suffix(suffix).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_suffix_that_is_nobody_elses() {
        // The specification's own example.
        let aliases = Aliases::of(["s.c1.t", "s.c2.t"]);
        assert_eq!(aliases.of_name("s.c1.t"), "c1.t");
        assert_eq!(aliases.of_name("s.c2.t"), "c2.t");

        let aliases = Aliases::of(["c.acl", ".acl_v6", "c.t", "t", "d.xt"]);
        assert_eq!(aliases.of_name("c.acl"), "acl");
        assert_eq!(aliases.of_name(".acl_v6"), "acl_v6");
        // `t` is a suffix of `c.t` but has nothing shorter; `xt` ends with a t but is another name.
        assert_eq!(aliases.of_name("c.t"), "c.t");
        assert_eq!(aliases.of_name("t"), "t");
        assert_eq!(aliases.of_name("d.xt"), "xt");
    }
}
