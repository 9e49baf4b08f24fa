use super::consent::{
    ALONE, CALLS, COUNTS, DATES, DENIED, DETAILS, FILLERS, LINKS, NEGATIONS, NEGATIVE, OTHER_CHANNELS,
    POSITIVE, STANDINGS, TOPICS, TOUCHED, WANTED, WHYS,
};
use super::*;
use Meaning::{
    Attribute, ConfirmationDate, ConsentDate, ConsentIp, Email, FirstName, Name, NotSubscribed,
    NotUnderstood, OptOutDate, Status, Subscribed,
};

fn assert_all(expected: Meaning, columns: &[&str]) {
    for column in columns {
        assert_eq!(meaning(column), expected, "{column}");
    }
}

#[test]
fn usual_spellings_are_understood() {
    let address =
        ["Email Address", "E-mail", "email", "E-Mail-Adresse", "mail", "email_address", "EMAIL", "\"Email\""];
    assert_all(Email, &address);
    assert_all(FirstName, &["First Name", "FNAME", "Vorname", "given_name", "firstName"]);
    assert_all(Name, &["Full Name"]);
    assert_all(
        ConsentDate,
        &["OPTIN_TIME", "Subscribed At", "Consent Timestamp", "Email Marketing Consent Timestamp"],
    );
    assert_all(ConfirmationDate, &["CONFIRM_TIME"]);
    assert_all(ConsentIp, &["OPTIN_IP", "subscribed_ip", "Opt-in IP address"]);
}

#[test]
fn columns_that_say_yes_are_known_by_many_names() {
    let columns = [
        "subscribed_to_emails",
        "Accepts Email Marketing",
        "Accepts Marketing",
        "Email Marketing Consent",
        "OPT_IN",
        "DOUBLE_OPT-IN",
        "Opted In",
        "is_subscribed",
        "subscribed",
        "newsletter",
        "Newsletter subscription",
        "marketing_consent",
        "Email Opt In",
        "hasOptedIn",
        "confirmed",
        "Newsletter abonniert",
        "Consentement",
        "GDPR consent",
        "Marketing permission",
        "Subscribed to list",
        "Resubscribed",
        "Send newsletter?",
        "Werbung erlaubt",
        "Zgoda na newsletter",
        "Souhlas s newsletterem",
        "Iscritto",
        "Newsletteranmeldung",
        "Consent: Email",
        "email_opt_in__c",
        "accept",
    ];
    assert_all(Subscribed, &columns);
}

#[test]
fn columns_that_say_no_are_known_by_many_names() {
    let columns = [
        "doNotEmail",
        "DoNotContact",
        "Do Not Email",
        "HasOptedOutOfEmail",
        "Email Opt Out",
        "Unsubscribed from all email",
        "Opted out of email: Marketing Information",
        "Opted out of all email",
        "hs_email_optout",
        "BLACKLISTED",
        "EMAIL_BLOCKLISTED",
        "email_disabled",
        "unsubscribed",
        "Bounced",
        "hard_bounced",
        "complained",
        "Email Suppressed",
        "no_marketing",
        "not subscribed",
        "Abgemeldet",
        "bounce_type",
        "Unsubscribed from list",
        "email_list_unsubscribed",
        "Do not allow Emails",
        "Désabonné",
        "Invalid email address",
        "consent_withdrawn",
        "newsletter_refused",
        "exclude_from_newsletter",
        "former_subscriber",
        "Newsletter abgelehnt",
        "Newsletterstop",
        "Werbung widersprochen",
        "Werbesperre",
        "Kein Mailing",
        "No bulk email",
        "dnc_email",
        "automatically_unsubscribed",
        "Opted out of email: Newsletter",
        "Desuscrito",
        "Disiscritto",
        "Descadastrado",
        "Wypisany",
        "Odhlášen",
        "Afgemeld",
        "De\u{301}sabonne\u{301}",
        "Consentement re\u{301}voque\u{301}",
        "2. Newsletter abgelehnt",
    ];
    assert_all(NotSubscribed, &columns);
    let dates = [
        "UNSUB_TIME",
        "unsubscribed_at",
        "Unsubscribed At",
        "Opt-out date",
        "Opt Out Reason",
        "Email hard bounce reason",
        "CLEAN_TIME",
        "bounced_at",
        "deleted_at",
        "complaint_date",
        "UNSUB_REASON_OTHER",
        "Unsubscribe campaign",
        "Abmeldedatum",
        "consent_withdrawn_at",
        "marketing_consent_revoked_on",
        "Consent withdrawal reason",
        "deactivated",
        "Unsubscribed Mode",
        "email_optout_source",
        "Confirmed Opt-Out Source",
    ];
    assert_all(OptOutDate, &dates);
}

#[test]
fn words_on_somebodys_standing_are_known() {
    let columns = [
        "status",
        "Member Status",
        "Email status",
        "Group status",
        "Subscription state",
        "Marketing contact status",
        "Email preference",
        "Subscribed/Opted out",
    ];
    assert_all(Status, &columns);
}

#[test]
fn what_can_be_read_both_ways_is_not_guessed() {
    let columns = [
        "not unsubscribed",
        "Not opted out",
        "active_subscription",
        "unconsented",
        "subscription_cancelled_at",
        "subscription_expires_at",
        "Subscription renewal date",
        "Newsletter paused",
        "gdpr_erased",
        "Newsletter, to be sent to me and to the other members of my club each month with all that is on: refused",
        "Consent via form",
        "No-nonsense newsletter",
        "Retirement newsletter",
        "Exclusive newsletter",
    ];
    assert_all(NotUnderstood, &columns);
}

#[test]
fn other_columns_are_attributes() {
    // Mailchimp's `Address` is the postal one.
    let columns = [
        "Address",
        "Birthday",
        "TAGS",
        "e",
        "浩",
        "description",
        "Posting permissions",
        "Lead Status",
        "state",
        "Accepts SMS Marketing",
        "DoNotCall",
        "HasOptedOutOfFax",
        "Subscription plan",
        "stripe_subscription_id",
        "Marketing emails bounced",
        "Consent source",
        "complimentary_plan",
        "unsubscribe_url",
        "accepts_terms",
        "Became a Subscriber Date",
        "Subscriber",
        "Subscription No.",
        "SMS Marketing Consent",
        "Email marketing consent updated at",
        "Discriminator",
        "Mailing City",
        "No. of mails",
        "Last email opened",
        "Emails received (6mo)",
    ];
    assert_all(Attribute, &columns);
}

#[test]
fn lists_are_folded_as_names_are() {
    let spellings = SPELLINGS.iter().map(|(_, spellings)| *spellings);
    let lists = [
        NEGATIVE,
        POSITIVE,
        TOPICS,
        ALONE,
        WANTED,
        DENIED,
        NEGATIONS,
        OTHER_CHANNELS,
        CALLS,
        COUNTS,
        LINKS,
        DETAILS,
        WHYS,
        DATES,
        STANDINGS,
        TOUCHED,
        FILLERS,
    ];
    for word in spellings.chain(lists).flat_map(str::split_whitespace) {
        assert_eq!(key(word), word);
    }
}

#[test]
fn another_address_of_the_same_person_is_known() {
    for column in
        ["E-mail 2 - Value", "Additional email addresses", "Secondary mail 2", "Work Email", "Private E-Mail"]
    {
        assert!(is_other_address(column), "{column}");
    }
    for column in ["Email", "Contact owner", "Email owner", "Mailing City", "Mailing list"] {
        assert!(!is_other_address(column), "{column}");
    }
}

#[test]
fn columns_whose_answers_may_be_about_mail_are_known() {
    for column in
        ["Can be emailed", "Mailing list", "Consent source", "Newsletter: product name", "Opt-in method"]
    {
        assert!(meaning(column) == Attribute && is_about_mail(column), "{column}");
    }
    for column in [
        "Town",
        "htmlemail",
        "subscription_id",
        "Emails opened",
        "Subscription No.",
        "Marketing emails bounced",
        "SMS consent",
    ] {
        assert!(meaning(column) == Attribute && !is_about_mail(column), "{column}");
    }
}

#[test]
fn a_spelling_has_one_meaning() {
    let all = || SPELLINGS.iter().flat_map(|(_, spellings)| spellings.split(' '));
    let distinct: std::collections::BTreeSet<_> = all().collect();
    assert_eq!(all().count(), distinct.len());
    assert_eq!(meaning(""), Attribute);
}
