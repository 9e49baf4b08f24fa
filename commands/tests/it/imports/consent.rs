//! Nobody who left elsewhere becomes active here, whatever tool wrote the file.

use super::support::*;
use commands::imports::{ColumnMapping, DateOrder, ImportRequest, Meaning, WarningCode};
use sqlx::PgPool;

/// The addresses of those who are active in the group, of an import of such rows.
async fn active_of(pool: &PgPool, header: &str, rows: &[&str]) -> Vec<String> {
    sqlx::query("TRUNCATE gates, subject_keys, imports CASCADE").execute(pool).await.unwrap();
    let commands = commands(pool);
    let group = group(&commands).await;
    import(&commands, active(Some(group)), format!("{header}\n{}\n", rows.join("\n"))).await;
    people(&commands)
        .await
        .into_iter()
        .filter(|(_, p)| p.state.is_subscribed(group))
        .map(|(a, _)| a)
        .collect()
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn usual_exports_make_nobody_active_who_left(pool: PgPool) {
    let cases: [(&str, &str, &[&str]); 16] = [
        (
            "Ghost",
            "id,email,name,note,subscribed_to_emails,deleted_at",
            &[
                "1,in@x.example,A,,true,",
                "2,out1@x.example,B,,false,",
                "3,out2@x.example,C,,FALSE,2024-02-01T09:00:00.000Z",
            ],
        ),
        (
            "Mautic",
            "email,firstname,doNotEmail",
            &["in@x.example,A,0", "out1@x.example,B,1", "out2@x.example,C,TRUE", "out3@x.example,D,yes"],
        ),
        (
            "HubSpot",
            "Record ID,Email,Unsubscribed from all email,Email hard bounce reason,Lead Status",
            &["1,in@x.example,,,NEW", "2,out1@x.example,true,,", "3,out2@x.example,false,UNKNOWN_USER,"],
        ),
        (
            "Mailchimp",
            "Email Address,First Name,OPTIN_TIME,UNSUB_TIME,CLEAN_TIME",
            &[
                "in@x.example,A,2020-01-01 10:00:00,,",
                "out1@x.example,B,2020-01-01 10:00:00,2024-01-01 10:00:00,",
                "out2@x.example,C,2020-01-01 10:00:00,,2024-01-01 10:00:00",
            ],
        ),
        (
            "Brevo",
            "CONTACT ID,EMAIL,OPT_IN,EMAIL_BLOCKLISTED",
            &["1,in@x.example,Yes,false", "2,out1@x.example,No,false", "3,out2@x.example,Yes,true"],
        ),
        (
            "Klaviyo",
            "Email,Email Marketing Consent,Email Suppressions",
            &[
                "in@x.example,SUBSCRIBED,[]",
                "out1@x.example,NEVER_SUBSCRIBED,[]",
                "out2@x.example,SUBSCRIBED,USER_SUPPRESSED",
                "out3@x.example,,[]",
            ],
        ),
        (
            "ActiveCampaign",
            "Email,First Name,Status",
            &[
                "in@x.example,A,Active",
                "out1@x.example,B,Unsubscribed",
                "out2@x.example,C,Bounced",
                "out3@x.example,D,Unconfirmed",
            ],
        ),
        (
            "Substack",
            "email,active_subscription,expiry,email_disabled,created_at",
            &["in@x.example,false,,false,2024-01-01", "out1@x.example,true,,true,2024-01-01"],
        ),
        (
            "Beehiiv",
            "email,status,created_at",
            &["in@x.example,active,2024-01-01", "out1@x.example,inactive,2024-01-01"],
        ),
        (
            "MailerLite",
            "Subscriber,Email,Subscribed,Unsubscribed",
            &[
                "A,in@x.example,2024-01-01 10:00:00,",
                "B,out1@x.example,2024-01-01 10:00:00,2024-02-01 10:00:00",
                "C,out2@x.example,,",
            ],
        ),
        (
            "listmonk",
            "uuid,email,name,attributes,status",
            &[
                "u,in@x.example,A,{},enabled",
                "u,out1@x.example,B,{},blocklisted",
                "u,out2@x.example,C,{},disabled",
            ],
        ),
        (
            "Keila",
            "Email,First name,Last name,Data,Status",
            &["in@x.example,A,,,active", "out1@x.example,B,,,unsubscribed", "out2@x.example,C,,,unreachable"],
        ),
        (
            "Shopify",
            "First Name,Email,Accepts Email Marketing,Accepts SMS Marketing",
            &["A,in@x.example,yes,no", "B,out1@x.example,no,yes"],
        ),
        (
            "Salesforce",
            "Id,Email,HasOptedOutOfEmail,EmailBouncedDate,DoNotCall",
            &[
                "1,in@x.example,0,,1",
                "2,out1@x.example,1,,0",
                "3,out2@x.example,false,2024-01-01T00:00:00.000+0000,0",
            ],
        ),
        (
            "Google Groups",
            "Members for choir@lists.example.org\nEmail address,Nickname,Group status,Email status,Email preference,Posting permissions",
            &[
                "in@x.example,Jo,member,,email,allowed",
                "out1@x.example,Al,member,bouncing,email,allowed",
                "out2@x.example,Bo,member,,no email,allowed",
            ],
        ),
        (
            "our own recipients",
            "subscriber_id,address,state,reason,dispatch_id,authorized_by,template_version",
            &["1,in@x.example,accepted,,1,7,1", "2,out1@x.example,suppressed,opted_out,1,,"],
        ),
    ];
    for (tool, header, rows) in cases {
        assert_eq!(active_of(&pool, header, rows).await, ["in@x.example"], "{tool}");
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_consent_that_was_taken_back_makes_nobody_active(pool: PgPool) {
    let cases: [(&str, &[&str]); 17] = [
        ("email,consent_withdrawn", &["in@x.example,FALSE", "out@x.example,TRUE"]),
        (
            "email,consent_at,consent_withdrawn_at",
            &["in@x.example,2024-01-01,", "out@x.example,2024-01-01,2024-02-01"],
        ),
        ("email,marketing_consent_revoked_on", &["in@x.example,", "out@x.example,2024-02-01"]),
        ("email,newsletter_refused", &["in@x.example,no", "out@x.example,yes"]),
        ("email,exclude_from_newsletter", &["in@x.example,no", "out@x.example,yes"]),
        ("email,former_subscriber", &["in@x.example,0", "out@x.example,1"]),
        ("email,automatically_unsubscribed", &["in@x.example,0", "out@x.example,1"]),
        ("email,dnc_email", &["in@x.example,0", "out@x.example,1"]),
        ("E-Mail;Newsletter abgelehnt", &["in@x.example;nein", "out@x.example;ja"]),
        (
            "E-Mail;Werbesperre;Newsletter Stop",
            &["in@x.example;nein;", "out@x.example;ja;", "out2@x.example;nein;x"],
        ),
        ("Correo electrónico;Desuscrito", &["in@x.example;no", "out@x.example;sí"]),
        ("Email;Disiscritto", &["in@x.example;no", "out@x.example;sì"]),
        ("E-mail;Descadastrado", &["in@x.example;não", "out@x.example;sim"]),
        (
            "Adres e-mail;Zgoda;Wypisany",
            &["in@x.example;tak;nie", "out@x.example;tak;tak", "out2@x.example;nie;nie"],
        ),
        ("E-mailadres;Aangemeld;Afgemeld", &["in@x.example;ja;nee", "out@x.example;ja;ja"]),
        ("E-postadress;Prenumererar", &["in@x.example;ja", "out@x.example;nej"]),
        (
            "Email,Email Marketing Consent,SMS Marketing Consent",
            &["in@x.example,SUBSCRIBED,NEVER_SUBSCRIBED", "out@x.example,UNSUBSCRIBED,SUBSCRIBED"],
        ),
    ];
    for (header, rows) in cases {
        assert_eq!(active_of(&pool, header, rows).await, ["in@x.example"], "{header}");
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_a_spreadsheet_puts_around_the_rows_stops_nothing(pool: PgPool) {
    let cases: [(&str, &[&str]); 4] = [
        ("email,subscribed", &["in@x.example,1", "out@x.example,0", ",,", "Total,2"]),
        ("email,status", &["in@x.example,active", "email,status", "out@x.example,unsubscribed"]),
        ("=\"email\",=\"opt_out\"", &["=\"in@x.example\",=\"FALSE\"", "=\"out@x.example\",=\"TRUE\""]),
        ("\u{200b}Email;Sub\u{200b}scribed\u{a0}", &["in@x.example\u{200b};\u{a0}yes", "out@x.example;no"]),
    ];
    for (header, rows) in cases {
        assert_eq!(active_of(&pool, header, rows).await, ["in@x.example"], "{header}");
    }
}

async fn refusal(pool: &PgPool, request: ImportRequest, text: &str) -> (String, String) {
    let commands = commands(pool);
    let error = commands.start_import(&context(), request, body(text.to_owned())).await.unwrap_err();
    for table in ["imports", "import_chunks", "events"] {
        assert_eq!(rows_in(pool, table).await, 0, "{table}");
    }
    let (field, reason) = field_of(&error);
    (field.into(), reason.into())
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_is_not_understood_stops_the_import_before_anybody_is_active(pool: PgPool) {
    let counted = "email,Mails per week\na@example.com,1\nb@example.com,7\n";
    assert!(commands(&pool).try_import(active(None), body(counted)).await.unwrap().can_be_imported);
    let many: String = (0..20_000).map(|n| format!("reader{n}@example.com,active\n")).collect();
    for (text, named) in [
        ("email,status\na@example.com,gold\n".to_owned(), "\"gold\" (line 2)"),
        (format!("email,status\n{many}z@example.com,on leave\n"), "\"on leave\" (line 20002)"),
        ("email,subscribed\na@example.com,maybe\n".to_owned(), "\"maybe\""),
        ("email,not unsubscribed\na@example.com,1\n".to_owned(), "both ways"),
        ("email,Kundenart\na@example.com,Unsubscribed\n".to_owned(), "\"Kundenart\" seems to say"),
        (
            "email,Can be emailed\na@example.com,Yes\nb@example.com,\nc@example.com,No\n".to_owned(),
            "\"Yes\" (line 2)",
        ),
        ("email,Wants mails\na@example.com,1\nb@example.com,0\n".to_owned(), "\"Wants mails\" seems to say"),
        (
            "email,Newsletter name\na@example.com,ja\nb@example.com,nein\n".to_owned(),
            "\"Newsletter name\" seems to say",
        ),
        ("email,subscription_cancelled_at\na@example.com,2024-03-01\n".to_owned(), "both ways"),
    ] {
        let (field, reason) = refusal(&pool, active(None), &text).await;
        assert!(
            field == "columns" && reason.contains(named) && reason.contains("columns={"),
            "{field}: {reason}"
        );
    }
    let (field, reason) =
        refusal(&pool, active(None), "email,Subscribed At\na@example.com,05/12/2023\n").await;
    assert!(field == "date_order" && reason.contains("date_order=dmy"), "{field}: {reason}");
    let mapped = ImportRequest { columns: mapping(&[("Town", Meaning::Ignore)]), ..active(None) };
    assert!(refusal(&pool, mapped, "email\na@example.com\n").await.1.contains("no column Town"));
}

fn mapping(columns: &[(&str, Meaning)]) -> ColumnMapping {
    columns.iter().map(|(name, meaning)| ((*name).to_owned(), *meaning)).collect()
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_mapping_says_what_the_names_do_not(pool: PgPool) {
    let commands = commands(&pool);
    let columns = mapping(&[
        ("Kontakt", Meaning::Email),
        ("Kundenart", Meaning::Attribute),
        ("status", Meaning::Ignore),
        ("Post?", Meaning::Subscribed),
    ]);
    let text = "Kontakt,Kundenart,status,Post?\na@x.example,Unsubscribed,gold,ja\nb@x.example,neu,,nein\n";
    let request = ImportRequest { columns, ..active(None) };
    assert_eq!(completed(&import(&commands, request, text).await), [1, 0, 0, 0, 1]);
    let ana = person(&commands, "a@x.example").await;
    assert_eq!(ana.details.attributes.keys().collect::<Vec<_>>(), ["kundenart", "post"]);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn dates_are_read_by_the_order_of_their_column_and_reported_where_they_are_not(pool: PgPool) {
    let commands = commands(&pool);
    let text = "email,Subscribed At\na@x.example,25/12/2023\nb@x.example,05/12/2023\nc@x.example,soon\n\
                d@x.example,2099-01-01\ne@x.example,2024-01-05T10:30:00+0100\n";
    let status = import(&commands, active(None), text).await;
    assert_eq!(completed(&status), [5, 0, 0, 0, 0]);
    let given = async |address: &str| person(&commands, address).await.consents[0].0.given_at;
    assert_eq!(given("b@x.example").await, Some("2023-12-05T00:00:00Z".parse().unwrap()));
    assert_eq!(given("e@x.example").await, Some("2024-01-05T09:30:00Z".parse().unwrap()));
    assert_eq!((given("c@x.example").await, given("d@x.example").await), (None, None));
    let understood = commands.import_understood(status.import_id).await.unwrap();
    let told: Vec<_> = understood.warnings.iter().map(|warning| (warning.code, warning.line)).collect();
    assert_eq!(told, [(WarningCode::DateUnreadable, Some(4)), (WarningCode::DateInFuture, Some(5))]);
    assert_eq!(understood.columns[1].date_order, Some(DateOrder::Dmy));

    let said = ImportRequest { date_order: Some(DateOrder::Mdy), ..active(None) };
    import(&commands, said, "email,Subscribed At\nf@x.example,05/12/2023\n").await;
    assert_eq!(given("f@x.example").await, Some("2023-05-12T00:00:00Z".parse().unwrap()));
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_dry_run_tells_all_and_keeps_nothing(pool: PgPool) {
    let commands = commands(&pool);
    let rows: String = (0..7).map(|n| format!("reader{n}@x.example,Choir,gold\n")).collect();
    let dry = commands.try_import(active(None), body(format!("email,Group,status\n{rows}"))).await.unwrap();
    let columns: Vec<_> =
        dry.columns.iter().map(|c| (c.name.as_str(), c.meaning, c.key.as_deref())).collect();
    let expected = [
        ("email", Meaning::Email, None),
        ("Group", Meaning::Attribute, Some("group_2")),
        ("status", Meaning::Status, Some("status")),
    ];
    assert_eq!(
        (columns.as_slice(), dry.rows, dry.sample.len(), dry.can_be_imported),
        (&expected[..], 7, 5, false)
    );
    let codes: Vec<_> = dry.warnings.iter().map(|warning| warning.code).collect();
    assert_eq!(codes, [WarningCode::Note, WarningCode::Stops]);
    assert_eq!((rows_in(&pool, "imports").await, rows_in(&pool, "attribute_names").await), (0, 0));
}

/// An import that a release took which kept no layout is read anew, and refused as a whole where it is not understood.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_an_earlier_release_took_is_looked_at_before_it_is_written(pool: PgPool) {
    let commands = commands(&pool);
    let id = start(&commands, active(None), "email,subscribed\na@x.example,yes\nb@x.example,no\n").await;
    sqlx::query("UPDATE imports SET layout = NULL").execute(&pool).await.unwrap();
    work(&commands).await;
    assert_eq!(completed(&commands.import(id).await.unwrap()), [1, 0, 0, 0, 1]);
    let old = "email,word\na@x.example,Unsubscribed\n";
    let columns = mapping(&[("word", Meaning::Attribute)]);
    let id = start(&commands, ImportRequest { columns, ..active(None) }, old).await;
    sqlx::query("UPDATE imports SET layout = NULL").execute(&pool).await.unwrap();
    work(&commands).await;
    let status = commands.import(id).await.unwrap();
    assert_eq!((status.status.as_str(), status.reason.as_deref()), ("failed", Some("not_understood")));
    assert_eq!(counts(&status), [0; 5]);
}
