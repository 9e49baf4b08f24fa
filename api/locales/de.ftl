# Die Seiten, die Leserinnen und Leser sehen.

leave-title = Abbestellen?
choices-heading = Was Sie bekommen
leave-group = Wenn Sie abbestellen, bekommen Sie keine Mails mehr von „{ $group }“.
leave-everything = Wenn Sie abbestellen, bekommen Sie gar keine Mails mehr von diesem Absender.
leave-button = Abbestellen
leave-all-button = Alles abbestellen

left-title = Sie sind abgemeldet.
left-group = Sie bekommen keine Mails mehr von „{ $group }“. Mehr ist nicht zu tun.
left-everything = Sie bekommen gar keine Mails mehr von diesem Absender. Mehr ist nicht zu tun.
return-hint = War das ein Versehen?
return-button = Wieder bestellen

choices-title = Welche Mails möchten Sie?
choices-button = Auswahl speichern
said-saved = Ihre Auswahl ist gespeichert.
said-returned = Sie sind wieder angemeldet.

broken-title = Dieser Link funktioniert nicht.
broken-hint = Manche Mailprogramme zerbrechen lange Links. Bitte öffnen Sie die Mail noch einmal und benutzen Sie ihren Link „Abbestellen“, oder kopieren Sie den ganzen Link in die Adresszeile.
broken-help = Wenn das nicht hilft, antworten Sie auf die Mail: Auch dann muss der Absender Sie von der Liste nehmen.

test-link-title = Das ist der Link einer Testmail.
test-link-page = In der Mail an eine Leserin oder einen Leser öffnet er eine Seite, die fragt, ob die Gruppe der Kampagne abbestellt werden soll, und zeigt, was es sonst gibt.
test-link-click = Der Knopf „Abbestellen“ eines Mailprogramms tut das sofort, ohne eine Seite.
test-link-nobody = Hier wurde niemand abgemeldet und nichts geändert.

old-title = Dafür ist dieser Link zu alt.
old-hint = Er ist älter als ein Jahr oder als Ihre Abmeldung oder ging an eine frühere Adresse und kann nur noch abbestellen. Bitte nehmen Sie den Link einer neueren Mail. Es wurde nichts geändert.

foreign-title = Bitte benutzen Sie den Knopf auf unserer eigenen Seite.
foreign-hint = Es wurde nichts geändert. Öffnen Sie den Link in der Mail noch einmal und drücken Sie dort auf den Knopf.

failed-title = Das hat nicht geklappt.
failed-hint = Bitte versuchen Sie es gleich noch einmal: Laden Sie diese Seite neu.

asked-title = Bitte sehen Sie in Ihr Postfach.
asked-hint = Wir haben eine Mail an die angegebene Adresse geschickt. Öffnen Sie den Link darin und bestätigen Sie: Dann sind Sie angemeldet.
asked-help = Wenn keine Mail kommt, sehen Sie im Ordner für Spam nach. Niemand bekommt mehr als ein paar dieser Mails am Tag.
not-asked-title = Das hat nicht geklappt.
not-asked-hint = Bitte gehen Sie zurück und prüfen Sie die Adresse. Wenn sie stimmt, ist etwas am Formular selbst falsch.

confirm-title = Abonnieren?
confirm-hint = Sie stimmen zu, Mails der hier genannten Gruppen dieses Absenders zu bekommen, bis Sie sich abmelden, was mit jeder Mail möglich ist.
confirm-button = Abonnieren
confirm-otherwise = Wenn nicht Sie danach gefragt haben, tun Sie nichts: Dann bekommen Sie nichts.
confirm-over = Er ist älter als 7 Tage, durch eine Abmeldung erledigt oder nicht vollständig. Bitte abonnieren Sie noch einmal; haben Sie das schon getan, öffnen Sie die letzte Mail.
confirmed-title = Sie sind angemeldet.
confirmed-hint = Vielen Dank. Von jetzt an bekommen Sie die Mails von:
confirmed-preferences = Ansehen oder ändern, was Sie bekommen

reset-title = Neues Passwort wählen
reset-over = Er gilt einmal, 30 Minuten lang, und nur der neueste gilt. Fordern Sie einen neuen an, wo Sie sich anmelden; haben Sie das schon getan, öffnen Sie die letzte Mail.
invited-title = Willkommen. Wählen Sie ein Passwort
invited-over = Er gilt einmal, 7 Tage lang, und nur der neueste gilt. Haben Sie schon ein Passwort gewählt, melden Sie sich an. Sonst bitten Sie um eine neue Einladung.
over-title = Dieser Link gilt nicht mehr.
chosen-for = Konto
chosen-password = Neues Passwort
chosen-rule = Mindestens 12 Zeichen. Gut sind ein paar Wörter, die Sie sonst nirgends benutzen.
chosen-again = Noch einmal
chosen-button = Passwort speichern
chosen-differs = Die beiden Passwörter sind nicht gleich.
chosen-unfit = Ein Passwort hat 12 bis 512 Zeichen.
chosen-title = Ihr Passwort ist gespeichert.
chosen-hint = Sie sind überall abgemeldet. Melden Sie sich mit dem neuen Passwort an; diese Seite können Sie schließen.
