//! The requests about groups, one file for each: read, sent to the core that owns the group, answered there.
//! Runs on the core of the client's connection and on that of the group.

mod classic;
mod consumer_group_describe;
mod consumer_group_heartbeat;
mod delete_groups;
mod describe_groups;
mod find_coordinator;
mod list_groups;
mod offset_commit;
mod offset_delete;
mod offset_fetch;

use super::coordinator::Coordinator;
use super::route::Caller;
use crate::control_plane::ControlPlane;
use crate::limits::GROUPS_PER_REQUEST_AT_ONCE;
use crate::types::ShardId;
use crate::wire::api::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, DeleteGroupsRequest,
    DescribeGroupsRequest, FindCoordinatorRequest, HeartbeatRequest, JoinGroupRequest,
    LeaveGroupRequest, ListGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest,
    OffsetFetchRequest, SyncGroupRequest,
};
use crate::wire::{
    ApiKey, Decoder, Encoder, ErrorCode, Fault, Request, RequestHeader, Str, Throttled, WireError,
    encode_response,
};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use std::collections::BTreeMap;

/// Whether an API is about groups.
pub fn is_about_groups(key: ApiKey) -> bool {
    matches!(
        key,
        ApiKey::OffsetCommit
            | ApiKey::OffsetFetch
            | ApiKey::FindCoordinator
            | ApiKey::ConsumerGroupHeartbeat
            | ApiKey::ConsumerGroupDescribe
            | ApiKey::JoinGroup
            | ApiKey::Heartbeat
            | ApiKey::LeaveGroup
            | ApiKey::SyncGroup
            | ApiKey::DescribeGroups
            | ApiKey::ListGroups
            | ApiKey::DeleteGroups
            | ApiKey::OffsetDelete
    )
}

/// Has a request that waits for others, minutes it may be, keep nothing of the chunk of memory that it came in:
/// that is hundreds of times what the request itself takes.
///
/// # Errors
/// None: what is left of a body can be read.
pub fn detach(header: &mut RequestHeader, body: &mut Decoder) -> Result<(), WireError> {
    if matches!(header.api_key, ApiKey::JoinGroup | ApiKey::SyncGroup) {
        header.client_id = header.client_id.as_ref().map(Str::detached);
        let rest = body.read_slice(body.remaining())?;
        *body = Decoder::new(Bytes::copy_from_slice(&rest));
    }
    Ok(())
}

/// Answers a request with a whole response frame.
///
/// # Errors
/// Its body cannot be read.
pub async fn answer(
    plane: &ControlPlane,
    caller: Caller<'_>,
    body: &mut Decoder,
) -> Result<Encoder, WireError> {
    match caller.header.api_key {
        ApiKey::OffsetCommit => one::<OffsetCommitRequest>(plane, caller, body).await,
        ApiKey::ConsumerGroupHeartbeat => {
            one::<ConsumerGroupHeartbeatRequest>(plane, caller, body).await
        }
        ApiKey::ConsumerGroupDescribe => {
            many::<ConsumerGroupDescribeRequest>(plane, caller, body).await
        }
        ApiKey::JoinGroup => one::<JoinGroupRequest>(plane, caller, body).await,
        ApiKey::SyncGroup => one::<SyncGroupRequest>(plane, caller, body).await,
        ApiKey::Heartbeat => one::<HeartbeatRequest>(plane, caller, body).await,
        ApiKey::LeaveGroup => one::<LeaveGroupRequest>(plane, caller, body).await,
        ApiKey::DescribeGroups => many::<DescribeGroupsRequest>(plane, caller, body).await,
        ApiKey::OffsetDelete => one::<OffsetDeleteRequest>(plane, caller, body).await,
        ApiKey::OffsetFetch => many::<OffsetFetchRequest>(plane, caller, body).await,
        ApiKey::DeleteGroups => many::<DeleteGroupsRequest>(plane, caller, body).await,
        ApiKey::FindCoordinator => {
            let request = FindCoordinatorRequest::decode(body, caller.version())?;
            let response = find_coordinator::handle(plane, caller, request).await;
            Ok(encoded::<FindCoordinatorRequest>(caller, response))
        }
        ApiKey::ListGroups => {
            let request = ListGroupsRequest::decode(body, caller.version())?;
            let response = list_groups::handle(plane, caller, request).await;
            Ok(encoded::<ListGroupsRequest>(caller, response))
        }
        other => Err(body.error(Fault::UnknownApi(other.to_i16()))),
    }
}

fn encoded<R: Request>(caller: Caller<'_>, mut response: R::Response) -> Encoder {
    if let Some(meter) = caller.meter {
        response.set_throttle_ms(meter.settle());
    }
    encode_response::<R>(&response, caller.version(), caller.header.correlation_id)
}

/// What whoever asks is told when the core of a group does not answer.
const NO_ANSWER: ErrorCode = ErrorCode::CoordinatorNotAvailable;

// ---------------------------------------------------------------- one group

/// A request about one group.
trait OneGroup: Request {
    /// Whether the group has to have a name: offsets may be committed to one without.
    const IS_NAMED: bool;

    fn group(&self) -> &Str;

    /// The answer that is nothing but an error.
    fn refuse(&self, version: i16, error: ErrorCode) -> Self::Response;

    /// Answers it on the group's core.
    async fn serve(
        self,
        plane: &ControlPlane,
        coordinator: &Coordinator,
        caller: Caller<'_>,
    ) -> Self::Response;
}

async fn one<R: OneGroup>(
    plane: &ControlPlane,
    caller: Caller<'_>,
    body: &mut Decoder,
) -> Result<Encoder, WireError> {
    let request = R::decode(body, caller.version())?;
    let response = answer_one(plane, caller, request).await;
    Ok(encoded::<R>(caller, response))
}

async fn answer_one<R: OneGroup>(
    plane: &ControlPlane,
    caller: Caller<'_>,
    request: R,
) -> R::Response {
    let version = caller.version();
    if R::IS_NAMED && request.group().as_bytes().is_empty() {
        return request.refuse(version, ErrorCode::InvalidGroupId);
    }
    let owner = match plane.home_of(request.group()) {
        Ok(owner) => owner,
        Err(error) => return request.refuse(version, error),
    };
    if owner != plane.shard.id {
        if caller.is_forwarded {
            return request.refuse(version, ErrorCode::NotCoordinator);
        }
        let answer = plane.ask_groups_of(owner, caller, &request).await;
        return answer.unwrap_or_else(|| request.refuse(version, NO_ANSWER));
    }
    match plane.coordinator_of(request.group()) {
        Ok(coordinator) => request.serve(plane, &coordinator, caller).await,
        Err(error) => request.refuse(version, error),
    }
}

// ---------------------------------------------------------------- several groups

/// A request about several groups, each answered by itself.
trait ManyGroups: Request {
    /// The answer for one group.
    type Answer: Clone;

    /// The groups, in the order in which they are answered.
    fn groups(&self) -> Vec<Str>;

    /// Kafka answers some of them once for each group, however often it is named.
    fn without_repetitions(self) -> Self {
        self
    }

    /// The same request for some of them, by their places.
    fn only(&self, places: &[usize]) -> Self;

    /// The answers of a whole response, in the order of its request's groups.
    fn answers(&self, response: Self::Response, version: i16) -> Vec<Self::Answer>;

    fn response(&self, answers: Vec<Self::Answer>, version: i16) -> Self::Response;

    /// The answer that is nothing but an error.
    fn refuse(&self, place: usize, version: i16, error: ErrorCode) -> Self::Answer;

    /// Answers for one group on its core.
    async fn serve(
        &self,
        place: usize,
        plane: &ControlPlane,
        coordinator: &Coordinator,
        caller: Caller<'_>,
    ) -> Self::Answer;
}

async fn many<R: ManyGroups>(
    plane: &ControlPlane,
    caller: Caller<'_>,
    body: &mut Decoder,
) -> Result<Encoder, WireError> {
    let version = caller.version();
    let request = R::decode(body, version)?.without_repetitions();
    let groups = request.groups();
    let mut answers: Vec<Option<R::Answer>> = vec![None; groups.len()];
    let mut by_owner: BTreeMap<ShardId, Vec<usize>> = BTreeMap::new();
    for (place, group) in groups.iter().enumerate() {
        match plane.home_of(group) {
            Ok(owner) => by_owner.entry(owner).or_default().push(place),
            Err(error) => answers[place] = Some(request.refuse(place, version, error)),
        }
    }
    let request = &request;
    let asked = by_owner.into_iter().map(async |(owner, places)| {
        let told = if owner == plane.shard.id {
            serve_here(plane, caller, request, &groups, &places).await
        } else {
            serve_there(plane, caller, request, owner, &places).await
        };
        places.into_iter().zip(told).collect::<Vec<_>>()
    });
    for (place, answer) in futures_util::future::join_all(asked).await.into_iter().flatten() {
        answers[place] = Some(answer);
    }
    let refused = |(place, answer): (usize, Option<R::Answer>)| {
        answer.unwrap_or_else(|| request.refuse(place, version, NO_ANSWER))
    };
    let answers = answers.into_iter().enumerate().map(refused).collect();
    Ok(encoded::<R>(caller, request.response(answers, version)))
}

async fn serve_here<R: ManyGroups>(
    plane: &ControlPlane,
    caller: Caller<'_>,
    request: &R,
    groups: &[Str],
    places: &[usize],
) -> Vec<R::Answer> {
    let served =
        stream::iter(places).map(async |place| match plane.coordinator_of(&groups[*place]) {
            Ok(coordinator) => request.serve(*place, plane, &coordinator, caller).await,
            Err(error) => request.refuse(*place, caller.version(), error),
        });
    served.buffered(GROUPS_PER_REQUEST_AT_ONCE).collect().await
}

async fn serve_there<R: ManyGroups>(
    plane: &ControlPlane,
    caller: Caller<'_>,
    request: &R,
    owner: ShardId,
    places: &[usize],
) -> Vec<R::Answer> {
    let version = caller.version();
    let refuse = |error: ErrorCode| {
        places.iter().map(|place| request.refuse(*place, version, error)).collect()
    };
    if caller.is_forwarded {
        return refuse(ErrorCode::NotCoordinator);
    }
    let part = request.only(places);
    match plane.ask_groups_of(owner, caller, &part).await {
        Some(response) => part.answers(response, version),
        None => refuse(NO_ANSWER),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::encode_request;
    use std::sync::Arc;

    /// A chunk that says whether somebody keeps it.
    struct Chunk(Arc<Vec<u8>>);

    impl AsRef<[u8]> for Chunk {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    #[test]
    fn a_join_that_waits_keeps_nothing_of_the_chunk_that_it_came_in() {
        let request = JoinGroupRequest {
            group_id: Str::from_static("g"),
            member_id: Str::from_static("m"),
            ..JoinGroupRequest::default()
        };
        let frame = encode_request(&request, 9, 7, Some(Str::from_static("client"))).out.freeze();
        let chunk = Arc::new(frame.slice(4..).to_vec());
        let mut body = Decoder::new(Bytes::from_owner(Chunk(chunk.clone())));
        let mut header = RequestHeader::decode(&mut body).unwrap();
        assert!(Arc::strong_count(&chunk) > 1);
        detach(&mut header, &mut body).unwrap();
        assert_eq!(Arc::strong_count(&chunk), 1);
        assert_eq!(header.client_id.as_deref(), Some("client"));
        assert_eq!(JoinGroupRequest::decode(&mut body, 9).unwrap(), request);
    }
}
