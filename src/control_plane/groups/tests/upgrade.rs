//! Classic groups that somebody joins by the consumer protocol (KIP-848).

use super::*;
use crate::wire::Encoder;
use crate::wire::consumer_protocol::ConsumerProtocolSubscription;

fn join_request(group: &str, member: &str) -> JoinGroupRequest {
    let subscription =
        ConsumerProtocolSubscription { topics: vec!["t".into()], ..Default::default() };
    let mut e = Encoder::new();
    e.write_i16(1);
    subscription.encode(&mut e, 1);
    let metadata = e.out.freeze();
    JoinGroupRequest {
        group_id: group.into(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 60_000,
        member_id: member.into(),
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol { name: "range".into(), metadata }],
        ..JoinGroupRequest::default()
    }
}

/// A member that has an id, and waits for its generation.
async fn begin_join(host: &Rc<Host>, group: &'static str) -> (Str, Joining) {
    let answer = host.call(0, 9, join_request(group, "")).await;
    assert_eq!(answer.error_code, ErrorCode::MemberIdRequired);
    (answer.member_id.clone(), rejoin(host, group, answer.member_id))
}

type Joining = crate::runtime::sim::Task<JoinGroupResponse>;

fn rejoin(host: &Rc<Host>, group: &'static str, member: Str) -> Joining {
    let host = host.clone();
    spawn(async move { host.call(0, 9, join_request(group, &member)).await })
}

async fn sync_as_leader(host: &Host, group: &str, joined: &JoinGroupResponse) -> ErrorCode {
    let assignments = joined.members.iter().map(|member| SyncGroupRequestAssignment {
        member_id: member.member_id.clone(),
        assignment: Bytes::new(),
    });
    let request = SyncGroupRequest {
        group_id: group.into(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignments: assignments.collect(),
        ..SyncGroupRequest::default()
    };
    host.call(0, 5, request).await.error_code
}

#[test]
fn a_refused_member_of_the_consumer_protocol_disturbs_no_classic_group() {
    Simulation::new(12).run(async {
        let config = Config::default();
        let host = Rc::new(harness::try_start(2, config).await.unwrap());
        ready(&host).await;
        let (first, joining) = begin_join(&host, "g").await;
        let joined = joining.await;
        assert_eq!((joined.error_code, joined.generation_id), (ErrorCode::None, 1));
        assert_eq!(sync_as_leader(&host, "g", &joined).await, ErrorCode::None);
        let (second, waiting) = begin_join(&host, "g").await;
        sleep(Duration::from_millis(10)).await;
        assert_eq!(describe(&host, "g").await, ("PreparingRebalance".to_string(), 2));
        let request = ConsumerGroupHeartbeatRequest {
            group_id: "g".into(),
            member_id: "new".into(),
            rebalance_timeout_ms: 60_000,
            subscribed_topic_regex: Some("a)(b".into()),
            topic_partitions: Some(vec![]),
            ..Default::default()
        };
        let refused = host.call(0, 1, request).await;
        assert_eq!(refused.error_code, ErrorCode::InvalidRegularExpression, "{refused:?}");
        // Who waited still waits, and is in the next generation.
        assert_eq!(describe(&host, "g").await, ("PreparingRebalance".to_string(), 2));
        assert_eq!(heartbeat(&host, 0, "g", &first, 1).await, ErrorCode::RebalanceInProgress);
        let again = rejoin(&host, "g", first.clone()).await;
        let waited = waiting.await;
        assert_eq!((waited.error_code, waited.member_id), (ErrorCode::None, second));
        assert_eq!((waited.generation_id, again.generation_id), (2, 2));
        assert_eq!(again.members.len(), 2);
    });
}
