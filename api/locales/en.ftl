# The pages that readers see. Names of groups and masked addresses are filled in.

leave-title = Unsubscribe?
choices-heading = What you get
leave-group = If you unsubscribe, you will get no more mails from “{ $group }”.
leave-everything = If you unsubscribe, you will get no more mails from this sender.
leave-button = Unsubscribe
leave-all-button = Unsubscribe from everything

left-title = You are unsubscribed.
left-group = You will not get mails from “{ $group }” any more. There is nothing else to do.
left-everything = You will not get any mail from this sender any more. There is nothing else to do.
return-hint = Was that a mistake?
return-button = Subscribe again

choices-title = Which mails do you want?
choices-button = Save my choice
said-saved = Your choice is saved.
said-returned = You are subscribed again.

broken-title = This link does not work.
broken-hint = Some mail programs break long links. Please open the mail again and use its link “Unsubscribe”, or copy the whole link into the address bar.
broken-help = If that does not help, answer the mail: its sender has to take you off the list as well.

test-link-title = This is the link of a test mail.
test-link-page = In a reader’s mail it opens a page that asks whether they want to unsubscribe from the campaign’s group, and shows what else they get.
test-link-click = The button “Unsubscribe” of a mail program does so at once, without a page.
test-link-nobody = Here nobody was unsubscribed, and nothing was changed.

old-title = This link is too old for that.
old-hint = It is older than a year or than your unsubscribing, or was sent to an address that you had before, and can only unsubscribe. Please use the link of a newer mail. Nothing was changed.

foreign-title = Please use the button on our own page.
foreign-hint = Nothing was changed. Open the link in the mail again, and press the button there.

failed-title = That did not work.
failed-hint = Please try again in a moment: reload this page.

asked-title = Please look into your mailbox.
asked-hint = We sent a mail to the address that you gave. Open its link and confirm: then you are subscribed.
asked-help = If no mail comes, look into the folder for spam. Nobody gets more than a few of these mails a day.
not-asked-title = That could not be taken.
not-asked-hint = Please go back and check the address. If it is right, something is wrong with the form itself.

confirm-title = Subscribe?
confirm-hint = You agree to get mails of this sender’s groups that are named here, until you unsubscribe, which each mail lets you do.
confirm-button = Subscribe
confirm-otherwise = If it was not you who asked for it, do nothing: then you get nothing.
confirm-over = It is older than 7 days, was taken back by unsubscribing, or is not whole. Please subscribe again; if you did, open the latest mail.
confirmed-title = You are subscribed.
confirmed-hint = Thank you. From now on you get the mails of:
confirmed-preferences = See or change what you get

reset-title = Choose a new password
reset-over = It works once, within 30 minutes, and only the newest one does. Ask for another where you sign in; if you did, open the latest mail.
invited-title = Welcome. Choose a password
invited-over = It works once, within 7 days, and only the newest one does. If you have chosen a password already, sign in. Else ask who invited you for another invitation.
over-title = This link does not work any more.
chosen-for = Account
chosen-password = New password
chosen-rule = At least 12 characters. A few words that you use nowhere else are good.
chosen-again = Once more
chosen-button = Save the password
chosen-differs = The two passwords are not the same.
chosen-unfit = A password has 12 to 512 characters.
chosen-title = Your password is saved.
chosen-hint = You are signed out everywhere. Sign in with the new password; this page can be closed.
