//! What is compared, how it looks, and what is refused.

use super::group::{Spread, ratio_words};
use super::*;
use crate::report::tests::{golden, sample};

fn run(name: &str, label: &str, seed: u64) -> (String, Report) {
    (name.to_owned(), sample(label, seed))
}

fn runs() -> Vec<(String, Report)> {
    vec![
        run("corelog-1.json", "corelog", 1),
        run("kafka-1.json", "kafka", 2),
        run("corelog-2.json", "corelog", 3),
        run("kafka-2.json", "kafka", 4),
    ]
}

fn refusal(runs: Vec<(String, Report)>) -> Vec<String> {
    compare(runs, false).expect_err("not comparable").objections
}

#[test]
fn comparisons_are_as_they_were() {
    let comparison = compare(runs(), false).expect("the same work");
    golden("compare.txt", &text::render(&comparison));
    golden("compare.html", &page::render(&comparison));
}

#[test]
fn repeated_runs_are_merged_and_not_averaged() {
    let comparison = compare(runs(), false).expect("the same work");
    let mut whole = sample("corelog", 1).acknowledge;
    whole.merge(&sample("corelog", 3).acknowledge);
    assert_eq!(comparison.groups[0].acknowledge, whole);
    let labels: Vec<&str> = comparison.groups.iter().map(|group| group.label.as_str()).collect();
    assert_eq!(labels, ["corelog", "kafka"]);
}

#[test]
fn different_work_is_refused_and_each_difference_named() {
    let mut runs = runs();
    runs[1].1.work.insert("record_bytes".to_owned(), "100".to_owned());
    runs[3].1.work.remove("compression");
    let refused = compare(runs, false).expect_err("not comparable");
    let same = "corelog-1.json, corelog-2.json";
    let expected = [
        "compression differs: none in corelog-1.json, kafka-1.json, corelog-2.json; \
         not set in kafka-2.json"
            .to_owned(),
        format!("record_bytes differs: 1024 in {same}, kafka-2.json; 100 in kafka-1.json"),
    ];
    assert_eq!(refused.objections, expected);
    let words = refused.to_string();
    assert!(words.starts_with("these runs are not comparable:\n  compression differs"), "{words}");
}

#[test]
fn invalid_runs_are_refused() {
    let mut runs = runs();
    runs[2].1.invalid.push("the generator fell behind".to_owned());
    assert_eq!(refusal(runs), ["corelog-2.json is invalid: the generator fell behind"]);
}

#[test]
fn open_and_closed_loops_are_refused() {
    let mut runs = runs();
    runs[0].1.environment.loop_kind = crate::report::model::LoopKind::Closed;
    let objections = refusal(runs);
    assert_eq!(objections.len(), 1, "{objections:?}");
    assert!(objections[0].starts_with("loop differs: closed loop (latency hides waiting) in cor"));
}

#[test]
fn runs_of_one_label_are_of_one_broker() {
    let mut runs = runs();
    runs[2].1.environment.broker.durability.value = "page cache".to_owned();
    let objections = refusal(runs);
    assert_eq!(objections.len(), 1, "{objections:?}");
    assert!(objections[0].starts_with("the durability of runs labelled corelog differs: sync"));
}

#[test]
fn what_is_forced_says_so_first() {
    let mut runs = runs();
    runs[1].1.work.insert("record_bytes".to_owned(), "<100>".to_owned());
    let comparison = compare(runs, true).expect("forced");
    let table = text::render(&comparison);
    assert!(table.starts_with("NOT COMPARABLE, compared by --force:\n  record_bytes differs"));
    let page = page::render(&comparison);
    let (alarm, heading) = (page.find("NOT COMPARABLE"), page.find("Side by side"));
    assert!(alarm.is_some() && alarm < heading, "the objection comes first");
    assert!(page.contains("&lt;100&gt;") && !page.contains("<100>"));
}

#[test]
fn medians_have_their_spread() {
    let spread = Spread::of(vec![3.0, 1.0, 2.0]).expect("three values");
    assert_eq!((spread.median, spread.lowest, spread.highest), (2.0, 1.0, 3.0));
    assert_eq!(Spread::of(vec![1.0, 4.0]).map(|spread| spread.median), Some(2.5));
    assert_eq!(Spread::of(Vec::new()), None);
    let (low, high) = (Spread::of(vec![1.0, 2.0]), Spread::of(vec![2.0, 4.0]));
    assert_eq!(ratio_words(low.as_ref(), high.as_ref()), "≈ 2.00×");
    let apart = Spread::of(vec![6.0, 6.0]);
    assert_eq!(ratio_words(low.as_ref(), apart.as_ref()), "4.00×");
    assert_eq!(ratio_words(low.as_ref(), None), "–");
}
