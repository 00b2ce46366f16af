//! The command line as a user meets it: exit codes, sentences on stderr, nothing but data on stdout, and what
//! goes in through one command comes out of another.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use support::Broker;

struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn corelog(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_corelog"));
    command.args(arguments);
    // Variables of the developer's own shell are not the test's.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CORELOG_")) {
        command.env_remove(name);
    }
    command
}

fn run_with(mut command: Command, input: &[u8]) -> Ran {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().expect("the program is built");
    let mut stdin = process.stdin.take().expect("piped");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // A command that fails early does not read it all.
        let _ = stdin.write_all(&input);
    });
    let output = process.wait_with_output().expect("it ends");
    writer.join().expect("writing does not panic");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    let code = output.status.code().expect("no signal ended it");
    Ran { code, out: text(output.stdout), err: text(output.stderr) }
}

fn run(arguments: &[&str], input: &str) -> Ran {
    run_with(corelog(arguments), input.as_bytes())
}

/// What a command prints when it succeeds, in silence on stderr.
#[track_caller]
fn succeed(arguments: &[&str], input: &str) -> String {
    let ran = run(arguments, input);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{arguments:?}");
    ran.out
}

/// Fails with this code, nothing on stdout, and a sentence that says so.
#[track_caller]
fn fail(arguments: &[&str], input: &str, code: i32, sentence: &str) {
    let ran = run(arguments, input);
    assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{arguments:?}: {}", ran.err);
    assert!(ran.err.contains(sentence), "{arguments:?}: {}\nlacks {sentence}", ran.err);
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn wrong_arguments_and_configurations_end_with_two_and_name_what_is_wrong() {
    fail(&["nonsense"], "", 2, "nonsense");
    fail(
        &["serve", "--check", "--cpus", "3-1"],
        "",
        2,
        "flag --cpus: cpus = \"3-1\": expected auto",
    );
    fail(&["serve", "--config", "/does/not/exist"], "", 2, "cannot read /does/not/exist");
    fail(&["topic", "alter", "t"], "", 2, "nothing to alter");
    fail(&["produce", "t", "-f", "json", "-K", ":"], "", 2, "separators are for --format text");
    fail(&["consume", "t", "--from", "yesterday"], "", 2, "is no time");
    let mut command = corelog(&["serve", "--check"]);
    command.env("CORELOG_LISTN", "x");
    let ran = run_with(command, b"");
    assert_eq!(ran.code, 2);
    assert_eq!(
        ran.err,
        "corelog: unknown environment variable CORELOG_LISTN; did you mean CORELOG_LISTEN?\n"
    );
}

#[test]
fn what_check_prints_is_a_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("corelog.toml");
    let shown = path.to_str().unwrap();
    let flags = ["serve", "--check", "--node-id", "7", "--log-retention-ms", "-1"];
    std::fs::write(&path, succeed(&flags, "")).unwrap();
    let again = succeed(&["serve", "--check", "--config", shown], "");
    let values = |text: &str| {
        let lines =
            text.lines().map(|line| line.split(" # ").next().unwrap().trim_end().to_string());
        lines.collect::<Vec<_>>()
    };
    assert_eq!(values(&again), values(&succeed(&flags, "")));
    assert!(again.contains("node_id = 7"));
    let source = format!("# {shown}:");
    assert!(again.contains(&source), "{again}");
}

#[test]
fn completions_are_there_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = succeed(&["completions", shell], "");
        assert!(script.contains("consume") && script.contains("data-dir"), "{shell}");
    }
}

#[test]
fn a_cluster_that_is_not_there_is_one_sentence() {
    let at = ["-b", "127.0.0.1:1", "--timeout", "1"];
    fail(&[&["topic", "list"][..], &at].concat(), "", 1, "cannot connect to 127.0.0.1:1");
    fail(&[&["produce", "t"][..], &at].concat(), "x\n", 1, "Connection refused");
}

#[test]
fn a_port_and_a_directory_have_one_broker() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let shown = |folder: &tempfile::TempDir| folder.path().join("data").display().to_string();
    let broker = Broker::start(first.path(), &["--cpus", "0"]);
    let listen = broker.bootstrap();
    let other = ["serve", "--listen", &listen, "--data-dir", &shown(&second)];
    fail(&other, "", 1, &format!("cannot listen on {listen}"));
    let same = ["serve", "--listen", "127.0.0.1:1", "--data-dir", &shown(&first)];
    fail(&same, "", 1, "is in use by another corelog");
    broker.stop();

    // Both at once: the kernel would let them share the port.
    let start = |folder| {
        let data = shown(folder);
        let mut command = corelog(&["serve", "--listen", &listen, "--data-dir", &data]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().expect("the program is built")
    };
    let mut both = [start(&first), start(&second)];
    let (loser, status) = loop {
        let ended = |index: usize, process: &mut std::process::Child| {
            process.try_wait().expect("ours").map(|status| (index, status))
        };
        if let Some(loser) = both.iter_mut().enumerate().find_map(|(at, p)| ended(at, p)) {
            break loser;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    let winner = both[1 - loser].try_wait().expect("ours");
    let winner_process = &mut both[1 - loser];
    winner_process.kill().expect("ours");
    winner_process.wait().expect("ours");
    let mut said = String::new();
    both[loser].stderr.take().expect("piped").read_to_string(&mut said).expect("text");
    assert_eq!((status.code(), winner), (Some(1), None), "{said}");
    assert!(said.contains(&format!("cannot listen on {listen}")), "{said}");
}

#[test]
fn records_come_out_as_they_went_in() {
    for mode in ["per-core", "shared"] {
        let folder = tempfile::tempdir().unwrap();
        let broker = Broker::start(folder.path(), &["--cpus", "0,1", "--endpoints", mode]);
        let session = Session { bootstrap: broker.bootstrap() };
        session.topics_live_and_die();
        session.every_codec_and_format_round_trips();
        session.places_and_counts_choose_records();
        session.faults_are_sentences();
        session.a_reader_may_go_away();
        session.following_sees_what_comes();
        session.groups_read_once_and_are_reset_and_deleted();
        broker.stop();
        dump_shows_segments(&folder.path().join("data"));
    }
}

/// Commands against one broker.
struct Session {
    bootstrap: String,
}

impl Session {
    fn with<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        [arguments, &["-b", &self.bootstrap]].concat()
    }

    #[track_caller]
    fn succeed(&self, arguments: &[&str], input: &str) -> String {
        succeed(&self.with(arguments), input)
    }

    #[track_caller]
    fn fail(&self, arguments: &[&str], input: &str, sentence: &str) {
        fail(&self.with(arguments), input, 1, sentence);
    }

    fn topics_live_and_die(&self) {
        self.succeed(&["topic", "create", "a", "-p", "3", "-c", "retention.ms=100000"], "");
        self.succeed(&["topic", "create", "b"], "");
        self.succeed(&["topic", "create", "c", "--dry-run"], "");
        self.succeed(&["topic", "create", "b", "--if-not-exists"], "");
        self.fail(&["topic", "create", "b"], "", "TOPIC_ALREADY_EXISTS");
        assert_eq!(self.succeed(&["topic", "list"], ""), "a\nb\n");
        self.succeed(&["topic", "alter", "a", "-p", "4", "--set", "segment.bytes=2000000"], "");
        self.succeed(&["topic", "alter", "a", "--unset", "retention.ms"], "");
        let shown = self.succeed(&["topic", "describe", "a", "-f", "json"], "");
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(shown["partitions"].as_array().unwrap().len(), 4);
        assert_eq!(shown["configs"], serde_json::json!({"segment.bytes": "2000000"}));
        let text = self.succeed(&["topic", "describe", "a"], "");
        assert!(text.contains("setting     segment.bytes=2000000"), "{text}");
        self.succeed(&["topic", "delete", "a", "b"], "");
        self.fail(&["topic", "delete", "a"], "", "UNKNOWN_TOPIC_OR_PARTITION");
        self.succeed(&["topic", "delete", "a", "--if-exists"], "");
        assert_eq!(self.succeed(&["topic", "list"], ""), "");
        let cluster = self.succeed(&["cluster", "describe", "-f", "json"], "");
        let cluster: serde_json::Value = serde_json::from_str(&cluster).unwrap();
        assert!(!cluster["brokers"].as_array().unwrap().is_empty());
    }

    fn every_codec_and_format_round_trips(&self) {
        let lines: String = (0..5000).map(|i| format!("key{}:value {i} ü\n", i % 50)).collect();
        for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
            let topic = format!("codec-{codec}");
            self.succeed(&["topic", "create", &topic, "-p", "4"], "");
            let produce = ["produce", &topic, "-K", ":", "-z", codec, "-H", "a=1", "-H", "b="];
            self.succeed(&produce, &lines);
            let out = self.succeed(&["consume", &topic, "-K", ":"], "");
            assert_eq!(sorted(&out), sorted(&lines), "{codec}");
            for key in ["key0:", "key49:"] {
                let of_key = |text: &str| {
                    let lines = text.lines().filter(|line| line.starts_with(key));
                    lines.map(String::from).collect::<Vec<_>>()
                };
                assert_eq!(of_key(&out), of_key(&lines), "the order of a key is kept");
            }
        }
        let json = self.succeed(&["consume", "codec-zstd", "-f", "json"], "");
        self.succeed(&["topic", "create", "copy", "-p", "4"], "");
        self.succeed(&["produce", "copy", "-f", "json", "--keep-partitions"], &json);
        let copied = self.succeed(&["consume", "copy", "-f", "json"], "");
        let renamed = json.replace("\"codec-zstd\"", "\"copy\"");
        assert_eq!(sorted(&copied), sorted(&renamed));
        let shown = ["consume", "copy", "-n", "1", "--print", "topic,headers", "--separator", "|"];
        assert_eq!(self.succeed(&shown, ""), "copy|a:1,b:\n");
        for acks in ["0", "1", "all"] {
            self.succeed(&["produce", "acks", "--acks", acks, "--no-idempotence"], "x\n");
        }
        // With acks=0 nobody says when it is there; a later record on the same connection order does not help
        // another process, so only the acknowledged ones are counted on.
        let found = self.succeed(&["consume", "acks"], "").lines().count();
        assert!((2..=3).contains(&found), "{found}");
    }

    fn places_and_counts_choose_records(&self) {
        let line =
            |i: i64| format!("{{\"value\":\"{i}\",\"timestamp\":{}}}\n", 1_000_000 + i * 1000);
        let lines: String = (0..100).map(line).collect();
        self.succeed(&["topic", "create", "places", "-c", "message.timestamp.type=CreateTime"], "");
        self.succeed(&["produce", "places", "-f", "json"], &lines);
        for (arguments, expect) in [
            (&["--last", "3"][..], vec!["97", "98", "99"]),
            (&["--from", "@98"], vec!["98", "99"]),
            (&["--from", "1097500"], vec!["98", "99"]),
            (&["--from", "1970-01-01T00:18:18Z"], vec!["98", "99"]),
            (&["--from", "end"], vec![]),
            (&["--from", "2200-01-01"], vec![]),
            (&["-n", "2"], vec!["0", "1"]),
            (&["-n", "1", "--from", "@50", "-p", "0"], vec!["50"]),
        ] {
            let out = self.succeed(&[&["consume", "places"][..], arguments].concat(), "");
            assert_eq!(out.lines().collect::<Vec<_>>(), expect, "{arguments:?}");
        }
        self.succeed(&["topic", "trim", "places", "-p", "0", "--before", "97"], "");
        assert_eq!(self.succeed(&["consume", "places"], ""), "97\n98\n99\n");
    }

    fn faults_are_sentences(&self) {
        self.fail(&["consume", "places", "-p", "7"], "", "has 1 partitions, none is 7");
        self.fail(&["consume", "missing"], "", "topic missing: UNKNOWN_TOPIC_OR_PARTITION");
        self.fail(&["produce", "places", "-p", "7"], "x\n", "has 1 partitions, none is 7");
        self.fail(&["produce", "places", "-K", ":"], "a:b\nc\n", "line 2: no key separator");
        assert!(self.succeed(&["consume", "places", "-K", ":"], "").ends_with("a:b\n"));
        self.fail(&["produce", "bad name"], "x\n", "INVALID_TOPIC_EXCEPTION");
    }

    /// `consume | head -1` is a success without a word.
    fn a_reader_may_go_away(&self) {
        let mut command = corelog(&self.with(&["consume", "codec-none"]));
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut first).unwrap();
        assert!(!first.is_empty());
        let output = process.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
    }

    fn following_sees_what_comes(&self) {
        let mut command =
            corelog(&self.with(&["consume", "places", "--last", "1", "-F", "-n", "2"]));
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "b");
        self.succeed(&["produce", "places"], "one\ntwo\nthree\n");
        assert_eq!(lines.next().unwrap().unwrap(), "one");
        assert_eq!(lines.next().unwrap().unwrap(), "two");
        assert!(lines.next().is_none());
        assert!(process.wait().unwrap().success());
    }

    fn groups_read_once_and_are_reset_and_deleted(&self) {
        self.succeed(&["topic", "create", "shared-out", "--partitions", "3"], "");
        let lines: String = (0..300).map(|n| format!("k{n}:{n}\n")).collect();
        self.succeed(&["produce", "shared-out", "--key-separator", ":"], &lines);
        let read = ["consume", "shared-out", "--group", "readers"];
        let values: String = (0..300).map(|n| format!("{n}\n")).collect();
        assert_eq!(sorted(&self.succeed(&read, "")), sorted(&values));
        assert_eq!(self.succeed(&read, ""), "", "the second time, nothing is left");
        assert!(self.succeed(&["group", "list"], "").contains("readers"));
        let described = self.succeed(&["group", "describe", "readers"], "");
        assert!(described.contains("lag          0"), "{described}");

        let reset =
            ["group", "reset-offsets", "readers", "--topic", "shared-out", "--to", "beginning"];
        assert!(self.succeed(&reset, "").starts_with("topic"));
        assert_eq!(self.succeed(&read, ""), "", "without --execute nothing changes");
        self.succeed(&[&reset[..], &["--execute"]].concat(), "");
        let seven = self.succeed(&[&read[..], &["--count", "7"]].concat(), "");
        let rest = self.succeed(&read, "");
        assert_eq!(seven.lines().count(), 7);
        assert_eq!(sorted(&format!("{seven}{rest}")), sorted(&values));

        self.succeed(&["group", "delete", "readers"], "");
        self.fail(&["group", "describe", "readers"], "", "there is no group readers");
        self.fail(&["group", "delete", "readers"], "", "GROUP_ID_NOT_FOUND");
    }
}

/// The batches of segments and the entries of indexes, down to the records; and the place of a damage. The
/// timestamps of 1970 and those of now are more than segment.ms apart, so there are two segments.
fn dump_shows_segments(data: &Path) {
    let file = |base: u64, kind: &str| data.join("places-0").join(format!("{base:020}.{kind}"));
    let segment = file(0, "log");
    let [first, second, times] = [&segment, &file(100, "log"), &file(0, "timeindex")]
        .map(|path| path.to_str().unwrap().to_string());
    let text = succeed(&["dump", &first], "");
    assert!(text.starts_with("position 0: offsets 0 to 99, 100 records, "), "{text}");
    let records = succeed(&["dump", &first, &second, "--records", "-f", "json"], "");
    let values = records.lines().map(|line| serde_json::from_str(line).unwrap());
    let values = values.filter(|value: &serde_json::Value| value.get("value").is_some());
    assert_eq!(values.count(), 104);
    let text = succeed(&["dump", &times], "");
    assert_eq!(text, "offset 99: timestamp 1970-01-01T00:18:19.000Z\n");
    let mut damaged = std::fs::read(&segment).unwrap();
    damaged[70] ^= 1;
    let copy = file(7, "log");
    std::fs::write(&copy, damaged).unwrap();
    fail(&["dump", copy.to_str().unwrap()], "", 1, "at position 0: checksum");
    fail(&["dump", data.to_str().unwrap()], "", 2, "is no .log, .index or .timeindex");
}

#[test]
fn doctor_host_fails_only_where_it_tells_a_problem() {
    let ran = run(&["doctor", "host", "--json", "--data-dir", "/not/made/yet"], "");
    assert_eq!(ran.err, "");
    let is_problem = |line: &str| line.contains("\"verdict\":\"problem\"");
    assert_eq!(ran.code, i32::from(ran.out.lines().any(is_problem)), "{}", ran.out);
    assert!(ran.out.lines().count() > 20, "{}", ran.out);
}
