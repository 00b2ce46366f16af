//! The process's own log lines: to stderr, by a thread of their own that no core waits for.

use super::Failure;
use crate::config::{LoggingConfig, LoggingFormat};
use std::fmt;
use std::io::IsTerminal;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// Lines that wait for a slow stderr. At it, further ones are dropped: no core waits for a terminal.
const LINES_WAITING_MAX: usize = 16 * 1024;

/// Sends log lines to stderr from now on. What is still waiting is written when the guard is dropped.
pub fn start(config: &LoggingConfig) -> Result<WorkerGuard, Failure> {
    let filter = EnvFilter::try_new(&config.filter).map_err(|error| {
        Failure::usage(format!("logging.filter = {:?}: {error}", config.filter))
    })?;
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(LINES_WAITING_MAX)
        .lossy(true)
        .finish(std::io::stderr());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    let dispatch: tracing::Dispatch = match config.format {
        LoggingFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).finish().into(),
        LoggingFormat::Json => builder.event_format(JsonLines).finish().into(),
    };
    dispatch
        .try_init()
        .map(|()| guard)
        .map_err(|error| Failure::failed(format!("cannot start logging: {error}")))
}

/// One JSON object per line: `time`, `level`, `target`, `message`, then the event's own fields.
struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let mut fields = JsonFields(serde_json::Map::new());
        fields.0.insert("time".to_string(), time.into());
        fields.0.insert("level".to_string(), event.metadata().level().as_str().into());
        fields.0.insert("target".to_string(), event.metadata().target().into());
        event.record(&mut fields);
        writeln!(writer, "{}", serde_json::Value::Object(fields.0))
    }
}

struct JsonFields(serde_json::Map<String, serde_json::Value>);

impl Visit for JsonFields {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_string(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_string(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_string(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_string(), value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_string(), format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_json_line_carries_the_message_and_the_fields() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .event_format(JsonLines)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(shard = 3, peer = "a\"b", "closed");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["message"], "closed");
        assert_eq!(line["shard"], 3);
        assert_eq!(line["peer"], "a\"b");
        assert!(line["time"].as_str().unwrap().ends_with('Z'));
    }
}
