//! Lists of people who opted out: nobody in them may be lost.

use super::support::*;
use sqlx::PgPool;

/// Addresses that are opted out of everything.
async fn left(commands: &commands::Commands) -> Vec<String> {
    people(commands)
        .await
        .into_iter()
        .filter(|(_, p)| p.state.global_opt_out)
        .map(|(address, _)| address)
        .collect()
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn every_address_of_a_broken_list_is_opted_out(pool: PgPool) {
    let commands = commands(&pool);
    let mut text = b"Email Address,First Name,UNSUB_TIME,UNSUB_REASON_OTHER\n\
        oo01@x.example,Ana,2024-03-01 10:00:00,fine\n\
        oo02@x.example,Ben,2024-03-01 10:00:00\n\
        oo03@x.example,Cem,2024-03-01 10:00:00,too,many,cells\n\
        OO04@X.Example.,Dia,,\n\
        Eva <oo05@x.example>,Eva,,\n\
        mailto:oo06@x.example,Fe,,\n\
        oo07@x.example; oo08@x.example,Gil,,\n\
        \"oo09@x.example,Hal,,\n\
        oo10@x.example,\"Ida,,\n\
        oo11@x.example,J\xf6rg,,\n\
        nobody,Kai,,\n\
        Lea,oo12@x.example,,\n"
        .to_vec();
    text.extend(format!("oo13@x.example,Mo,,{}\n", "too many mails ".repeat(500)).into_bytes());
    text.extend(b"oo14@x.example,N\0o,,\n\"oo15@x.example,Pam,,");
    let status = import(&commands, opted_out(), text).await;
    let expected: Vec<String> = (1..=15).map(|n| format!("oo{n:02}@x.example")).collect();
    assert_eq!(left(&commands).await, expected);
    assert_eq!(completed(&status), [15, 0, 0, 0, 1]);
    assert_eq!(rejected(&commands, status.import_id).await[0].value, "nobody");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_open_quote_hides_nobody_in_a_long_list(pool: PgPool) {
    let commands = commands(&pool);
    let rows: String = (0..6_000).map(|n| format!("reader{n}@x.example,Some Name Or Other\n")).collect();
    let status = import(&commands, opted_out(), format!("email,name\nfirst@x.example,\"open\n{rows}")).await;
    assert_eq!(completed(&status), [6_001, 0, 0, 0, 0]);
    assert_eq!(left(&commands).await.len(), 6_001);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_list_needs_no_header_and_ours_can_be_imported_again(pool: PgPool) {
    let commands = commands(&pool);
    assert_eq!(
        completed(&import(&commands, opted_out(), "a@x.example\nb@x.example\r\n").await),
        [2, 0, 0, 0, 0]
    );
    let ours = "position,time,subscriber_id,address,scope,groups,channel,campaign_id,dispatch_id,actor,source_address,\
                user_agent\r\n7,2024-01-01T00:00:00Z,1,'+1555@x.example,global,,one_click,,,reader,192.0.2.7,x\r\n";
    assert_eq!(completed(&import(&commands, opted_out(), ours).await), [1, 0, 0, 0, 0]);
    assert_eq!(left(&commands).await, ["+1555@x.example", "a@x.example", "b@x.example"]);
    // By mistake as a list of readers: nobody in it becomes one.
    let status = import(&commands, active(None), ours.replace("+1555", "c")).await;
    assert_eq!(completed(&status), [0, 0, 0, 0, 1]);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn utf_16_and_windows_1252_are_read_and_told(pool: PgPool) {
    let commands = commands(&pool);
    let text = "\u{feff}email\ttown\r\na@x.example\tŁódź\r\n";
    let utf_16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let status = import(&commands, active(None), utf_16).await;
    assert_eq!(completed(&status), [1, 0, 0, 0, 0]);
    assert_eq!(person(&commands, "a@x.example").await.details.attributes["town"], "Łódź");
    let told = commands.import_understood(status.import_id).await.unwrap().warnings;
    assert!(told[0].text.contains("utf-16"));
    let request = commands::imports::ImportRequest { windows_1252: true, ..active(None) };
    import(&commands, request, b"email,town\nb@x.example,K\xf6ln\n".to_vec()).await;
    assert_eq!(person(&commands, "b@x.example").await.details.attributes["town"], "Köln");
}
