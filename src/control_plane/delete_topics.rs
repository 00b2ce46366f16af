//! DeleteTopics, by name or by id.

use super::ControlPlane;
use super::create_topics::{self, Refusal};
use super::mutations::Mutations;
use crate::shard::control::{ControlError, ControlReply, ControlRequest};
use crate::types::TopicId;
use crate::wire::api::delete_topics::{
    DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse,
};
use crate::wire::{ErrorCode, Str};
use std::collections::BTreeMap;

pub async fn handle(
    control_plane: &ControlPlane,
    request: DeleteTopicsRequest,
    mutations: Mutations<'_>,
) -> DeleteTopicsResponse {
    let mut plan = Plan::default();
    for name in request.topic_names {
        *plan.names.entry(name).or_default() += 1;
    }
    for topic in request.topics {
        match (topic.name, topic.topic_id) {
            (Some(name), TopicId::ZERO) => *plan.names.entry(name).or_default() += 1,
            (None, TopicId::ZERO) => {
                plan.refuse(None, TopicId::ZERO, "Neither topic name nor id were specified.");
            }
            (None, id) => *plan.ids.entry(id.0).or_default() += 1,
            (name, id) => {
                plan.refuse(name, id, "You may not specify both topic name and topic id.");
            }
        }
    }
    let mut chosen = plan.choose(control_plane);
    let mut responses = plan.refused;
    let image = control_plane.shard.image();
    chosen.retain(|(name, id)| {
        let known = image.topic_by_id(*id);
        match known.map_or(Ok(()), |topic| mutations.admit(topic.partitions.len())) {
            Ok(()) => true,
            Err(refusal) => {
                responses.push(result(name.clone(), *id, refusal));
                false
            }
        }
    });
    responses.extend(delete(control_plane, chosen).await);
    DeleteTopicsResponse { responses, ..DeleteTopicsResponse::default() }
}

/// What the request names, and how often.
#[derive(Default)]
struct Plan {
    names: BTreeMap<Str, usize>,
    ids: BTreeMap<[u8; 16], usize>,
    refused: Vec<DeletableTopicResult>,
}

impl Plan {
    fn refuse(&mut self, name: Option<Str>, id: TopicId, text: &str) {
        self.refused.push(result(name, id, (ErrorCode::InvalidRequest, text.to_string())));
    }

    /// The topics to delete, as Kafka resolves them: none that was named twice in any way.
    fn choose(&mut self, control_plane: &ControlPlane) -> Vec<(Option<Str>, TopicId)> {
        let image = control_plane.shard.image();
        let mut names = Vec::new();
        for (name, count) in std::mem::take(&mut self.names) {
            match image.topic(&name) {
                _ if count > 1 => self.refuse(Some(name), TopicId::ZERO, "Duplicate topic name."),
                Some(topic) => names.push((name, topic.id)),
                None => {
                    let refusal = refusal_of(&ControlError::UnknownTopic);
                    self.refused.push(result(Some(name), TopicId::ZERO, refusal));
                }
            }
        }
        let mut ids = std::mem::take(&mut self.ids);
        let mut chosen = Vec::new();
        for (name, id) in names {
            if ids.remove(&id.0).is_some() {
                let text = "The provided topic name maps to an ID that was already supplied.";
                self.refuse(Some(name), id, text);
            } else {
                chosen.push((Some(name), id));
            }
        }
        for (id, count) in ids {
            let id = TopicId(id);
            if count > 1 {
                self.refuse(None, id, "Duplicate topic id.");
            } else {
                chosen.push((image.topic_by_id(id).map(|topic| Str::from(&*topic.name)), id));
            }
        }
        chosen
    }
}

async fn delete(
    control_plane: &ControlPlane,
    chosen: Vec<(Option<Str>, TopicId)>,
) -> Vec<DeletableTopicResult> {
    if chosen.is_empty() {
        return Vec::new();
    }
    let ids: Vec<TopicId> = chosen.iter().map(|(_, id)| *id).collect();
    let count = ids.len();
    let outcomes = match control_plane.shard.control(ControlRequest::DeleteTopics(ids)).await {
        ControlReply::DeleteTopics(outcomes) if outcomes.len() == count => outcomes,
        _ => vec![Err(ControlError::Stopping); count],
    };
    let answer = |((name, id), outcome): ((Option<Str>, TopicId), _)| match outcome {
        Ok(()) => DeletableTopicResult { name, topic_id: id, ..DeletableTopicResult::default() },
        Err(ControlError::UnknownTopic) => {
            let text = "This server does not host this topic ID.".to_string();
            result(None, id, (ErrorCode::UnknownTopicId, text))
        }
        Err(error) => result(name, id, refusal_of(&error)),
    };
    chosen.into_iter().zip(outcomes).map(answer).collect()
}

fn refusal_of(error: &ControlError) -> Refusal {
    (create_topics::code_of(error), error.to_string())
}

fn result(
    name: Option<Str>,
    topic_id: TopicId,
    (error_code, text): Refusal,
) -> DeletableTopicResult {
    DeletableTopicResult { name, topic_id, error_code, error_message: Some(text.into()) }
}
