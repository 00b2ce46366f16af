//! Which names a topic may have, with Kafka's words for those it may not. Pure.

use crate::limits::TOPIC_NAME_BYTES_MAX;

/// Topics of the broker itself, which clients mark as such.
pub use crate::shard::image::is_internal;

/// Checks a name as Kafka's `Topic.validate`.
///
/// # Errors
/// What is wrong, as Kafka says it.
pub fn check(name: &str) -> Result<(), String> {
    let wrong = |what: String| Err(format!("Topic name is invalid: {what}"));
    if name.is_empty() {
        return wrong("the empty string is not allowed".to_string());
    }
    if name == "." || name == ".." {
        return wrong(format!("'{name}' is not allowed"));
    }
    if name.len() > TOPIC_NAME_BYTES_MAX {
        return wrong(format!(
            "the length of '{name}' is longer than the max allowed length {TOPIC_NAME_BYTES_MAX}"
        ));
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        return wrong(format!(
            "'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        ));
    }
    Ok(())
}

/// Whether Kafka's metrics could confuse this name with another, because '.' and '_' look alike there.
pub fn has_collision_letters(name: &str) -> bool {
    name.contains(['.', '_'])
}

/// Equal for names that differ only in '.' and '_'.
pub fn collision_key(name: &str) -> String {
    name.replace('.', "_")
}

/// What must not be made even by name: the controller's own log.
pub fn is_reserved(name: &str) -> bool {
    name == "__cluster_metadata"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_and_refused_as_by_kafka() {
        let longest = "x".repeat(TOPIC_NAME_BYTES_MAX);
        for name in ["a", "A.b_c-9", "...", &longest] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        let too_long = "x".repeat(TOPIC_NAME_BYTES_MAX + 1);
        for name in ["", ".", "..", "a b", "a/b", "ä", &too_long] {
            assert!(check(name).unwrap_err().starts_with("Topic name is invalid: "), "{name}");
        }
    }

    #[test]
    fn names_that_differ_in_dots_and_underscores_collide() {
        assert_eq!(collision_key("a.b_c"), collision_key("a_b.c"));
        assert_ne!(collision_key("a.b"), collision_key("ab"));
    }
}
