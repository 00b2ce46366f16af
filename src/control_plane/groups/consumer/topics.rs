//! What a consumer group sees of the topics: those it subscribes to, by name or by regular expression. Pure.

use super::refusal::Refusal;
use crate::limits::{GROUP_REGEX_PROGRAM_BYTES_MAX, GROUP_REGEX_TOPICS_BYTES_MAX};
use crate::shard::image::MetadataImage;
use crate::types::TopicId;
use crate::wire::{ErrorCode, Str};
use regex::{Regex, RegexBuilder};
use std::collections::{BTreeMap, BTreeSet};

/// All topics at one moment.
pub trait TopicView {
    /// Grows with every change of any topic.
    fn version(&self) -> u64;
    /// Its id, and how many partitions it has.
    fn topic(&self, name: &str) -> Option<(TopicId, usize)>;
    fn name(&self, id: TopicId) -> Option<Str>;
    /// Shows every name once.
    fn visit_names(&self, visit: &mut dyn FnMut(&str));
}

impl TopicView for MetadataImage {
    fn version(&self) -> u64 {
        self.version
    }

    fn topic(&self, name: &str) -> Option<(TopicId, usize)> {
        self.topic(name).map(|topic| (topic.id, topic.partitions.len()))
    }

    fn name(&self, id: TopicId) -> Option<Str> {
        self.topic_by_id(id).map(|topic| Str::from(&*topic.name))
    }

    fn visit_names(&self, visit: &mut dyn FnMut(&str)) {
        self.topics().for_each(|topic| visit(&topic.name));
    }
}

/// Compiles what a member subscribes to. As in Kafka, it has to match a topic's whole name. Compiling is
/// bounded, and matching takes time in proportion to the name.
///
/// # Errors
/// INVALID_REGULAR_EXPRESSION for one that cannot be read, or needs too much memory.
pub fn compile(pattern: &str) -> Result<Regex, Refusal> {
    let build = |pattern: &str| {
        RegexBuilder::new(pattern)
            .size_limit(GROUP_REGEX_PROGRAM_BYTES_MAX)
            .dfa_size_limit(GROUP_REGEX_PROGRAM_BYTES_MAX)
            .build()
    };
    // On its own first: `a)(b` is none, although it would be one between the parentheses.
    build(pattern).and_then(|_| build(&format!("\\A(?:{pattern})\\z"))).map_err(|error| {
        let reason = match error {
            regex::Error::CompiledTooBig(_) => "it needs too much memory".to_string(),
            other => other.to_string(),
        };
        Refusal::new(
            ErrorCode::InvalidRegularExpression,
            format!(
                "SubscribedTopicRegex `{pattern}` is not a valid regular expression: {reason}."
            ),
        )
    })
}

/// What each of these matches, and how many topics were left out because all that match are too many. One that
/// cannot be compiled (another program's log) matches nothing.
pub fn resolve<'a>(
    patterns: impl Iterator<Item = &'a Str>,
    topics: &dyn TopicView,
) -> (BTreeMap<Str, BTreeSet<Str>>, u64) {
    let mut left_out = 0;
    let mut found: Vec<(Str, Option<Regex>, BTreeSet<Str>, usize)> = patterns
        .map(|pattern| (pattern.clone(), compile(pattern).ok(), BTreeSet::new(), 0))
        .collect();
    topics.visit_names(&mut |name| {
        for (_, regex, matching, bytes) in &mut found {
            if !regex.as_ref().is_some_and(|regex| regex.is_match(name)) {
                continue;
            }
            if *bytes + name.len() <= GROUP_REGEX_TOPICS_BYTES_MAX {
                *bytes += name.len();
                matching.insert(Str::from(name));
            } else {
                left_out += 1;
            }
        }
    });
    let found = found.into_iter().map(|(pattern, _, matching, _)| (pattern, matching));
    (found.collect(), left_out)
}

/// A hash of what a group's assignment depends on: the subscribed topics that are there, with their ids and
/// sizes. It is stored, so it is the same for every version of this program; 0 for no topic, as Kafka's.
pub fn metadata_hash<'a>(names: impl Iterator<Item = &'a Str>, topics: &dyn TopicView) -> i64 {
    // FNV-1a, over topics in order of their names.
    let mut hash: Option<u64> = None;
    let mut add = |bytes: &[u8]| {
        let so_far = hash.unwrap_or(0xcbf2_9ce4_8422_2325);
        let next = bytes.iter().fold(so_far, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        hash = Some(next);
    };
    let sorted: BTreeSet<&Str> = names.collect();
    for name in sorted {
        if let Some((id, partitions)) = topics.topic(name) {
            add(&id.0);
            add(&(name.as_bytes().len() as u64).to_be_bytes());
            add(name.as_bytes());
            add(&(partitions as u64).to_be_bytes());
        }
    }
    hash.unwrap_or(0) as i64
}
