//! [`Schedule`]: the times of a cron (contract, section 5).

use std::time::{Duration, SystemTime};

use axum::http::StatusCode;
use croner::Cron as Pattern;
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::wire::refusal::{Refusal, quoted};

/// The times of a cron: a pattern, in a time zone.
#[derive(Debug)]
pub(crate) struct Schedule {
    text: String,
    pattern: Pattern,
    zone: TimeZone,
}

impl Schedule {
    /// Reads a pattern of five fields, a sixth one behind them for seconds, or a name as `@daily`.
    /// It has times within fifty years of an instant, as upstream's: a search for one ends.
    pub(crate) fn read(text: &str, zone: Option<&str>, now: SystemTime) -> Result<Self, Refusal> {
        let fields: Vec<_> = text.split_whitespace().collect();
        let years = Timestamp::try_from(now).map_or(1, |now| now.to_zoned(TimeZone::UTC).year());
        let years = format!("{years}-{}", years.saturating_add(YEARS));
        let spelt = match &fields[..] {
            [rest @ .., seconds] if fields.len() == 6 => {
                Some(format!("{seconds} {} {years}", rest.join(" ")))
            }
            fields if fields.len() == 5 => Some(format!("0 {} {years}", fields.join(" "))),
            [name] if name.starts_with('@') => Some((*name).to_owned()),
            _ => None,
        };
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Optional);
        let pattern = spelt.filter(|_| text.len() <= TEXT_MAX);
        let pattern = pattern.and_then(|it| parser.build().parse(&it).ok());
        let pattern = pattern.ok_or_else(|| Refusal::invalid(bad(text)))?;
        let zone = match zone {
            None => TimeZone::UTC,
            Some(name) => TimeZone::get(name).map_err(|_| Refusal::invalid(bad_zone(name)))?,
        };
        Ok(Self { text: quoted(text).to_string(), pattern, zone })
    }

    /// Yields the first time behind an instant.
    pub(crate) fn after(&self, at: SystemTime) -> Result<SystemTime, Refusal> {
        let none = || Refusal::new(StatusCode::BAD_REQUEST, never(&self.text));
        let at = Timestamp::try_from(at).map_err(|_| none())?;
        let at = Zoned::new(at, self.zone.clone());
        let next = self.pattern.find_next_occurrence(&at, false).map_err(|_| none())?;
        Ok(SystemTime::from(next.timestamp()))
    }

    /// Refuses one with two times that are too close. Those far from now are not looked at: then
    /// the second one is passed over.
    pub(crate) fn check_pause(&self, now: SystemTime, pause: Duration) -> Result<(), Refusal> {
        let mut at = self.after(now)?;
        for _ in 0..LOOKED_AT {
            let Ok(next) = self.after(at) else { return Ok(()) };
            if next.duration_since(at).is_ok_and(|gap| gap < pause) {
                let text = format!(
                    "schedule: due more often than once in {} s; of six fields the last one is \
                     seconds",
                    pause.as_secs_f64()
                );
                return Err(Refusal::invalid(text));
            }
            at = next;
        }
        Ok(())
    }
}

/// Reads an instant: with an offset, or without one in UTC.
pub(crate) fn instant(text: &str) -> Option<SystemTime> {
    let with_offset = text.parse::<Timestamp>().ok();
    let at = with_offset.or_else(|| {
        let at: DateTime = text.parse().ok()?;
        Some(at.to_zoned(TimeZone::UTC).ok()?.timestamp())
    });
    at.map(SystemTime::from)
}

/// Upstream's words.
fn bad(text: &str) -> String {
    let text = quoted(text);
    format!(
        "Invalid cron schedule: '{text}'. Reason: Invalid cron schedule. Ensure the schedule uses \
         the standard cron format (minute hour day_of_month month day_of_week). Example: \
         '*/5 * * * *' for every 5 minutes."
    )
}

/// Upstream's words, and what is wrong.
fn never(text: &str) -> String {
    format!(
        "failed to find next date: schedule '{text}' has no time within {YEARS} years. Name a day \
         that its month has. Example: '0 9 28 2 *' for 09:00 on every 28 February."
    )
}

fn bad_zone(name: &str) -> String {
    let name = quoted(name);
    format!("Invalid timezone: '{name}'. Use IANA timezone format (e.g. 'America/New_York').")
}

/// The longest schedule that is read, in bytes.
const TEXT_MAX: usize = 256;

/// How far a time may be away, in years.
const YEARS: i16 = 50;

/// Times whose pauses are looked at: all seconds of a minute, or minutes of an hour.
const LOOKED_AT: usize = 60;

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::wire::rows::time;

    fn next(text: &str, zone: Option<&str>, after: &str) -> String {
        let after = instant(after).unwrap();
        time(Schedule::read(text, zone, after).unwrap().after(after).unwrap())[..19].to_owned()
    }

    /// As upstream answers.
    #[test]
    fn the_next_time_is_that_of_the_pattern_in_its_zone() {
        let now = "2026-11-26T21:28:18Z";
        for (text, zone, wanted) in [
            ("* * * * *", None, "2026-11-26T21:29:00"),
            ("*/5 * * * *", None, "2026-11-26T21:30:00"),
            ("*/10 * * * * *", None, "2026-11-26T21:30:00"),
            ("@daily", None, "2026-11-27T00:00:00"),
            ("0 9 * * mon-fri", None, "2026-11-27T09:00:00"),
            ("0 9 * * 7", None, "2026-11-29T09:00:00"),
            ("0 9 L * *", None, "2026-11-30T09:00:00"),
            ("0 9 * * *", Some("Asia/Tokyo"), "2026-11-27T00:00:00"),
            ("30 2 * * *", Some("Europe/Berlin"), "2026-11-27T01:30:00"),
        ] {
            assert_eq!(next(text, zone, now), wanted, "{text} {zone:?}");
        }
        // Both sides of a change of the clock.
        let berlin = Some("Europe/Berlin");
        assert_eq!(next("0 12 * * *", berlin, "2026-03-28T13:00:00Z"), "2026-03-29T10:00:00");
        assert_eq!(next("0 12 * * *", berlin, "2026-10-24T13:00:00Z"), "2026-10-25T11:00:00");
    }

    #[test]
    fn times_that_are_too_close_are_refused() {
        let now = instant("2026-11-26T21:28:18Z").unwrap();
        let checked = |text: &str, secs| {
            let checked = Schedule::read(text, None, now).unwrap();
            checked.check_pause(now, Duration::from_secs(secs)).map_err(|it| it.status.as_u16())
        };
        for (text, secs, wanted) in [
            ("* * * * *", 60, Ok(())),
            ("* * * * *", 61, Err(422)),
            ("0,1 0 1 1 *", 61, Err(422)),
            ("0 0 1 1 * 0,30", 60, Err(422)),
            ("* * * * * *", 1, Ok(())),
            ("* * * * * *", 0, Ok(())),
            ("0 0 29 2 *", 86_400, Ok(())),
        ] {
            assert_eq!(checked(text, secs), wanted, "{text} {secs}");
        }
    }

    /// A search to the year 5000 would hold up all that its thread serves.
    #[test]
    fn a_time_is_searched_for_within_fifty_years() {
        let from = |year: u32| instant(&format!("{year}-11-26T00:00:00Z")).unwrap();
        let schedule = Schedule::read("0 0 29 2 +SAT", None, from(2026)).unwrap();
        let first = schedule.after(from(2026)).unwrap();
        assert_eq!(&time(first)[..10], "2048-02-29");
        let second = schedule.after(first).unwrap();
        assert_eq!(&time(second)[..10], "2076-02-29");
        assert_eq!(schedule.after(second).unwrap_err().status, 400);
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in
            ["bad", "", "* * * *", "99 * * * *", "* * * * * * *", "@daily *", &"* ".repeat(1_000)]
        {
            let refusal = Schedule::read(text, None, UNIX_EPOCH).unwrap_err();
            assert!(
                refusal.status == 422 && refusal.detail.starts_with("Invalid cron schedule: '")
            );
        }
        let refusal = Schedule::read("* * * * *", Some("Nowhere/X"), UNIX_EPOCH).unwrap_err();
        assert!(
            refusal.status == 422 && refusal.detail.starts_with("Invalid timezone: 'Nowhere/X'")
        );
        let never = Schedule::read("0 0 31 2 *", None, UNIX_EPOCH).unwrap();
        let refusal = never.after(UNIX_EPOCH).unwrap_err();
        assert!(refusal.status == 400 && refusal.detail.contains("'0 0 31 2 *' has no time"));
        let (_, example) = refusal.detail.split_once("Example: '").unwrap();
        let (example, _) = example.split_once('\'').unwrap();
        assert_eq!(&next(example, None, "2026-11-26T21:28:18Z"), "2027-02-28T09:00:00");
        assert_eq!(instant("1970-01-01T01:00:01+01:00"), Some(UNIX_EPOCH + Duration::from_secs(1)));
        assert_eq!(instant("1970-01-01T00:00:01"), Some(UNIX_EPOCH + Duration::from_secs(1)));
        assert_eq!(instant("x"), None);
    }
}
