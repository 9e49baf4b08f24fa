use super::*;

fn now() -> DateTime<Utc> {
    "2026-11-30T12:00:00Z".parse().unwrap()
}

fn at(written: &str, order: Option<DateOrder>) -> Result<Option<DateTime<Utc>>, NoDate> {
    given_at(written, order, now())
}

fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

#[test]
fn times_of_usual_exports_are_read() {
    for (written, read) in [
        ("2020-06-19 01:58:00", "2020-06-19T01:58:00Z"),
        ("2020-06-19 01:58", "2020-06-19T01:58:00Z"),
        ("5 marraskuuta 2023", "2023-11-05T00:00:00Z"),
        ("2020-06-19 01:58:00 UTC", "2020-06-19T01:58:00Z"),
        ("2020-06-19T01:58:00", "2020-06-19T01:58:00Z"),
        ("2020-06-19T01:58:00.123456789+02:00", "2020-06-18T23:58:00.123456Z"),
        ("2020-06-19T01:58:00Z", "2020-06-19T01:58:00Z"),
        ("2020-06-19 01:58:00+02:00", "2020-06-18T23:58:00Z"),
        ("2024-01-05T10:30:00+0100", "2024-01-05T09:30:00Z"),
        ("2024-01-05 10:30:00 -05", "2024-01-05T15:30:00Z"),
        ("2024-01-05 10:30:00 +0000 UTC", "2024-01-05T10:30:00Z"),
        ("2024-01-05 10:30:00 GMT+0200", "2024-01-05T08:30:00Z"),
        ("19.06.2020 01:58", "2020-06-19T01:58:00Z"),
        ("5.12.2023", "2023-12-05T00:00:00Z"),
        ("2020-06-19", "2020-06-19T00:00:00Z"),
        ("2020/06/19 10:00", "2020-06-19T10:00:00Z"),
        ("20200619", "2020-06-19T00:00:00Z"),
        ("1592531880", "2020-06-19T01:58:00Z"),
        ("1592531880000", "2020-06-19T01:58:00Z"),
        ("Jun 19, 2020 1:58 PM", "2020-06-19T13:58:00Z"),
        ("June 19th 2020", "2020-06-19T00:00:00Z"),
        ("19 June 2020 at 1:58pm", "2020-06-19T13:58:00Z"),
        ("19-Jun-2020 13:58:00", "2020-06-19T13:58:00Z"),
        ("19. Juni 2020", "2020-06-19T00:00:00Z"),
        ("3. März 2021, 08:05", "2021-03-03T08:05:00Z"),
        ("Fri, 19 Jun 2020 01:58:00 +0000", "2020-06-19T01:58:00Z"),
        ("12 août 2021", "2021-08-12T00:00:00Z"),
        ("1 Dezember 2021", "2021-12-01T00:00:00Z"),
        ("07/07/2021", "2021-07-07T00:00:00Z"),
    ] {
        assert_eq!(at(written, None), Ok(Some(time(read))), "{written}");
    }
}

#[test]
fn the_order_of_a_column_decides_over_its_cells() {
    use DateOrder::{Dmy, Mdy};
    for (written, order, read) in [
        ("05/12/2023", Dmy, "2023-12-05T00:00:00Z"),
        ("05/12/2023", Mdy, "2023-05-12T00:00:00Z"),
        ("5-12-2023 1:05 AM", Mdy, "2023-05-12T01:05:00Z"),
        ("25/12/23 13:05", Dmy, "2023-12-25T13:05:00Z"),
        ("6/19/2020 12:30:10 AM", Mdy, "2020-06-19T00:30:10Z"),
        ("06/19/2020 01:58:30 p.m.", Mdy, "2020-06-19T13:58:30Z"),
    ] {
        assert_eq!(at(written, Some(order)), Ok(Some(time(read))), "{written}");
        assert_eq!(at(written, None), Err(NoDate::Unreadable), "{written}: no guess");
    }
    assert_eq!(at("25/12/2023", Some(Mdy)), Err(NoDate::Unreadable));
}

#[test]
fn evidence_is_of_the_whole_column() {
    let order = |cells: &[&str]| {
        let mut evidence = Evidence::default();
        cells.iter().zip(2..).for_each(|(cell, line)| evidence.add(cell, line));
        evidence.order()
    };
    assert_eq!(order(&["05/12/2023", "", "soon", "25/12/2023"]), Ok(Some(DateOrder::Dmy)));
    assert_eq!(order(&["12/25/2023 10:00 AM", "05/12/2023"]), Ok(Some(DateOrder::Mdy)));
    assert_eq!(order(&["2023-12-05", "05.12.2023", "07/07/2023", "5 May 2023", ""]), Ok(None));
    assert!(order(&["2023-12-05", "05/12/2023"]).unwrap_err().contains("(line 3)"));
    assert!(order(&["25/12/23"]).unwrap_err().contains("(line 2)"), "any of the three may be the year");
    let both = order(&["25/12/2023", "12/25/2023"]).unwrap_err();
    assert!(both.contains("line 2") && both.contains("line 3"), "{both}");
}

#[test]
fn what_is_no_time_is_said_and_nothing_is_none() {
    for written in [
        "soon",
        "yes",
        "2020-13-01 00:00:00",
        "0001-01-01 00:00:00",
        "12:30",
        "99/99/2020",
        "45285",
        "2023",
        "2023-02-30",
    ] {
        assert_eq!(at(written, Some(DateOrder::Dmy)), Err(NoDate::Unreadable), "{written}");
    }
    for written in ["", "0000-00-00 00:00:00", "NULL", "-", "n/a"] {
        assert_eq!(at(written, None), Ok(None), "{written}");
    }
}

#[test]
fn a_time_to_come_is_no_time_of_consent() {
    for written in ["2099-01-01", "2026-12-02 00:00", "4102444800"] {
        assert_eq!(at(written, None), Err(NoDate::Future), "{written}");
    }
    assert!(at("2026-12-01", None).is_ok(), "that day has begun somewhere");
}
