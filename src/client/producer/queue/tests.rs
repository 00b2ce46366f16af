use super::*;
use crate::types::Offset;
use crate::wire::batch::parse_produced;

const RULES: Rules = Rules {
    codec: Codec::None,
    batch_bytes: 200,
    linger: Duration::from_millis(5),
    in_flight_max: 5,
    is_idempotent: true,
    delivery_limit: Duration::from_secs(10),
    retry_pause: Duration::from_millis(100),
};

fn at(ms: u64) -> Instant {
    Instant::default() + Duration::from_millis(ms)
}

/// A queue with so many full batches of one record each, and their outcomes.
fn queue(batches: usize) -> (Queue, Vec<Rc<Outcome>>) {
    let mut queue = Queue::new(RULES);
    queue.set_identity((7, 0));
    let value = [b'x'; 300];
    let outcomes =
        (0..batches).map(|_| queue.push(at(0), Timestamp(1), None, Some(&value), &[]).0).collect();
    (queue, outcomes)
}

/// Takes a batch; its id, producer id and base sequence.
fn take(queue: &mut Queue) -> (u64, i64, i32) {
    let outgoing = queue.take().expect("a batch is due");
    let header = parse_produced(&outgoing.bytes).expect("what is sent is a whole batch");
    (outgoing.id, header.producer_id, header.base_sequence)
}

fn refused(code: ErrorCode) -> Result<Acknowledged, ClientError> {
    Err(ClientError::refused("test", code))
}

fn lost() -> Result<Acknowledged, ClientError> {
    let (address, reason) = ("a".to_string(), "b".to_string());
    Err(ClientError::Disconnected { address, reason })
}

fn acknowledged(offset: i64) -> Result<Acknowledged, ClientError> {
    Ok(Acknowledged { base_offset: Some(Offset(offset)), append_time: None })
}

#[test]
fn a_batch_is_due_when_full_or_old_or_flushed() {
    let mut queue = Queue::new(RULES);
    assert_eq!(queue.due(true), None);
    queue.push(at(10), Timestamp(1), None, Some(b"small"), &[]);
    assert_eq!(queue.due(false), Some(at(15)));
    assert_eq!(queue.due(true), Some(at(10)));
    queue.push(at(11), Timestamp(1), None, Some(&[b'x'; 180]), &[]);
    assert_eq!(queue.waiting.len(), 2, "the first made room, the second is full itself");
    assert_eq!(queue.due(false), Some(at(0)));
}

#[test]
fn sequences_go_on_and_wrap_at_the_greatest() {
    let (mut queue, _) = queue(3);
    queue.next_sequence = i32::MAX;
    assert_eq!(take(&mut queue).2, i32::MAX);
    assert_eq!(take(&mut queue).2, 0);
    assert_eq!(take(&mut queue).2, 1);
}

#[test]
fn in_flight_is_bounded() {
    let (mut queue, _) = queue(7);
    let sent: Vec<_> = (0..5).map(|_| take(&mut queue)).collect();
    assert_eq!(queue.due(true), None);
    let settled = queue.settle(sent[0].0, acknowledged(0), at(1));
    assert!(settled.bytes_freed > 300 && settled.error.is_none());
    assert_eq!(queue.due(true), Some(at(0)));
}

#[test]
fn what_failed_goes_again_in_order_with_its_sequences() {
    let (mut queue, outcomes) = queue(4);
    let sent: Vec<_> = (0..3).map(|_| take(&mut queue)).collect();
    // The first is lost; the second then comes out of order; the third is still on its way.
    assert_eq!(queue.settle(sent[0].0, lost(), at(1)), Settled::default());
    assert_eq!(queue.due(true), None, "nothing overtakes a failed batch");
    queue.settle(sent[1].0, refused(ErrorCode::OutOfOrderSequenceNumber), at(2));
    queue.settle(sent[2].0, refused(ErrorCode::OutOfOrderSequenceNumber), at(3));
    assert_eq!(queue.due(true), Some(at(103)), "after a pause");
    let again: Vec<_> = (0..4).map(|_| take(&mut queue)).collect();
    assert_eq!(again[..3], sent[..]);
    assert_eq!(again[3].2, 3);
    for (place, (id, ..)) in again.iter().enumerate() {
        queue.settle(*id, acknowledged(place as i64), at(200));
    }
    assert!(queue.is_empty());
    for (place, outcome) in outcomes.iter().enumerate() {
        assert_eq!(outcome.answer(), Some(acknowledged(place as i64)));
    }
}

#[test]
fn what_failed_goes_at_once_where_another_broker_leads() {
    let (mut queue, _) = queue(2);
    let sent: Vec<_> = (0..2).map(|_| take(&mut queue)).collect();
    queue.settle(sent[0].0, refused(ErrorCode::NotLeaderOrFollower), at(1));
    queue.end_pause();
    assert_eq!(queue.due(true), None, "the other is still on its way");
    queue.settle(sent[1].0, refused(ErrorCode::NotLeaderOrFollower), at(2));
    queue.end_pause();
    assert_eq!(queue.due(true), Some(at(0)));
    assert_eq!(take(&mut queue), sent[0]);
}

#[test]
fn a_batch_refused_for_good_restarts_the_partition_under_another_id() {
    let (mut queue, outcomes) = queue(4);
    let sent: Vec<_> = (0..4).map(|_| take(&mut queue)).collect();
    assert!(!queue.settle(sent[0].0, refused(ErrorCode::MessageTooLarge), at(1)).is_reset);
    // Refused because of the gap: certainly not written, so it goes again.
    queue.settle(sent[1].0, refused(ErrorCode::OutOfOrderSequenceNumber), at(1));
    // Lost: it may be written, and under another id it could be written twice.
    queue.settle(sent[2].0, lost(), at(1));
    let settled = queue.settle(sent[3].0, refused(ErrorCode::OutOfOrderSequenceNumber), at(1));
    assert!(settled.is_reset && settled.error.is_some());
    assert!(queue.wants_identity());
    queue.set_identity((8, 0));
    assert_eq!(take(&mut queue), (sent[1].0, 8, 0));
    assert_eq!(take(&mut queue), (sent[3].0, 8, 1));
    assert!(outcomes[0].answer().unwrap().is_err());
    assert!(outcomes[2].answer().unwrap().is_err());
}

#[test]
fn out_of_order_without_a_cause_is_a_failure() {
    let (mut queue, outcomes) = queue(1);
    let (id, ..) = take(&mut queue);
    let settled = queue.settle(id, refused(ErrorCode::OutOfOrderSequenceNumber), at(1));
    assert!(settled.is_reset);
    assert!(outcomes[0].answer().unwrap().is_err());
}

#[test]
fn a_duplicate_from_long_ago_is_a_success() {
    let (mut queue, outcomes) = queue(1);
    let (id, ..) = take(&mut queue);
    queue.settle(id, refused(ErrorCode::DuplicateSequenceNumber), at(1));
    assert_eq!(outcomes[0].answer(), Some(Ok(Acknowledged::default())));
}

#[test]
fn what_is_too_old_expires_and_a_sent_one_leaves_a_gap() {
    let (mut first, outcomes) = queue(2);
    assert_eq!(first.expire(at(10_000)), Settled::default());
    let settled = first.expire(at(10_001));
    assert!(settled.error.is_some() && !settled.is_reset, "nothing was sent, so there is no gap");
    assert!(first.is_empty() && outcomes.iter().all(|outcome| outcome.answer().unwrap().is_err()));

    let (mut second, _) = queue(1);
    let (id, ..) = take(&mut second);
    assert_eq!(second.expire(at(20_000)), Settled::default(), "in flight it is the request's time");
    second.settle(id, lost(), at(20_000));
    let settled = second.expire(at(20_000));
    assert!(settled.is_reset);
    assert!(settled.error.unwrap().to_string().contains("the connection to a broke"));
}

#[test]
fn without_idempotence_batches_have_no_sequences() {
    let mut queue = Queue::new(Rules { is_idempotent: false, in_flight_max: 1, ..RULES });
    assert!(!queue.wants_identity());
    queue.push(at(0), Timestamp(1), None, Some(b"a"), &[]);
    assert_eq!(take(&mut queue), (0, -1, -1));
    queue.push(at(0), Timestamp(1), None, Some(b"b"), &[]);
    assert_eq!(queue.due(true), None, "one at a time keeps the order");
}
