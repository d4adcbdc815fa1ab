"""What the name of a column says about its content."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.validation.names import NameKind, classify_name

PERSONAL, PHONE, NATIONAL_ID, PAYMENT, PROTECTED = (
    NameKind.PERSONAL, NameKind.PHONE, NameKind.NATIONAL_ID, NameKind.PAYMENT, NameKind.PROTECTED
)  # fmt: skip
NAMES: dict[tuple[NameKind, ...], str] = {
    (PERSONAL,): """
        name|Name|first_name|FirstName|Last Name|surname|nachname|Vorname|prénom|PRENOM|nom|nom_client|nombre_cliente|apellidos|cognome
        sobrenome|achternaam|nazwisko|imię|efternamn|fornavn|sukunimi|příjmení|soyadı|adı|customerName|cardholder_name|name of patient
        email|e-mail|E_Mail|emailAddress|email_adresse|courriel|sähköposti|correo electrónico|street_address|Straße|STRASSE|Lieferadresse
        Anschrift|adres|osoite|dirección|hausnummer|ip_address|client_ip|username""",
    (PERSONAL, PHONE): """
        phone|Phone Number|phone2|tel|Tel.|TelNr|tel_no|telefonnummer|handy|Handynummer|handy_nr|mobile_no|MobilePhone|téléphone
        teléfono|telefono_movil|numéro de téléphone|cellulare|telemóvel|puhelin|kontakt2|kontakt_telefon|msisdn|cep telefonu|cell""",
    (PERSONAL, NATIONAL_ID): """
        ssn|SSN|social_security_number|socialSecurityNumber|national_id|NINO|nhs_number|passport_no|Reisepass|Führerschein
        fuehrerschein_nr|steuer_id|sozialversicherungsnummer|numéro de sécurité sociale|DNI|NIE|codice_fiscale|pesel|nr_dowodu|cpf
        bsn|personnummer|fødselsnummer|foedselsnummer|CPR-nr|henkilötunnus|rodné číslo|TC Kimlik No|aadhaar_number|PAN|sin|tax_id""",
    (PERSONAL, PAYMENT): """
        IBAN|account_number|accountNumber|bank_account|credit_card_number|CardNo|cc_num|Kontonummer|Kreditkarte|numéro de compte
        número de tarjeta|rekeningnummer|numer konta|tilinumero|číslo účtu""",
    (PERSONAL, NameKind.OTHER_TIME): """
        date_of_birth|DateOfBirth|DOB|birthday|geb_dat|Geburtsdatum|date de naissance|fecha_nacimiento|Fecha de Nacimiento|data_nascita
        data de nascimento|geboortedatum|data urodzenia|födelsedatum|fødselsdato|foedselsdato|syntymäaika|datum narození|doğum tarihi""",
    (PROTECTED,): """
        gender|Sex|Geschlecht|sexe|sexo|genere|geslacht|płeć|kön|kjønn|køn|sukupuoli|pohlaví|cinsiyet|age|Age|Alter|edad|età|idade
        leeftijd|wiek|ålder|ikä|věk|yaş|age_group|nationality|Staatsangehörigkeit|nacionalidad|race|ethnicity|religion|Konfession
        marital_status|MaritalStatus|Familienstand|civil_status|estado civil|état civil|stan cywilny|disability|Behinderung|pregnant
        sexual_orientation|native_language|Muttersprache|political_party|SeniorCitizen|native-country|birth_country|Geburtsort|Anrede""",
    (NameKind.IDENTIFIER,): """
        id|ID|customer_id|customerID|CustomerId|customerid|rowID|uuid|index|__index_level_0__|Unnamed: 0|key|customer_key|order_no
        OrderNumber|invoiceNr|kundennummer|KundenNr|kunden_nr|numero_client|N° client|numéro de commande|asiakasnumero|müşteri_no
        booking_reference|row_names|no|Nr.""",
    (NameKind.CODE,): """
        zip|zip_code|zipcode|ZIP|PLZ|Postleitzahl|postcode|code_postal|codigo_postal|CAP|kod pocztowy|psč|postnr|fips|sku|EAN|icd10
        naics_code|branch_code|artikelnummer|sort_code|productCode|Länderschlüssel|Postikoodi|HS code""",
    (NameKind.TIME,): """
        date|Datum|order_date|orderDate|signup_date|start_time|timestamp|created_at|at|day|Rechnungsdatum|Bestelldatum|fecha|data
        data_zamowienia|jour|dato|päivämäärä|tilauspvm|tarih|period|horodatage""",
    (NameKind.OTHER_TIME,): """
        due_date|expiry|expiration_date|Ablaufdatum|Fälligkeitsdatum|updated_at|LastModified|end_date|date de fin|fecha_vencimiento
        scadenza|last_login|date_of_death""",
    (NameKind.QUANTITY,): """
        price|Betrag|rechnungsbetrag|montant|income|num_rooms|number_of_children|no_of_dependents|num_hijos|phone_calls_count
        email_count|total_charges|tenure|Größe_cm""",
    (NameKind.OUTCOME,): "churn|Churned|target|y|label|default|Survived|fraud|Kündigung|outcome",
    (): """
        management|candidate|agent|image|phonetics|validity|package|message|stage|usage|village|essex|middlesex|genres
        embrace|trace|accident|paid|valid|covid|hidden|monkey|keyboard|noise|Norway|update|mandate|upload|telescope|hotel|motel
        emailing|cellar|handyman|zipper|codec|decoder|dated|format|attention|birthrate|ration|region|City|contract|PaymentMethod
        account_age|vehicle_age|race_time|product_name|hotel_name|filename|nombre_enfants|body_mass_index|sin_hour|market_cap
        lepton_eta|web_address|data_usage|phone_service|PhoneService|has_phone|email_verified|Telefónica|x|c|1|||äöü|名前""",
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        (name, kinds)
        for kinds, text in NAMES.items()
        for line in text.split("\n")
        for name in line.strip().split("|")
        if name
    ],
)
def test_names_say_what_a_column_holds(name: str, kinds: tuple[NameKind, ...]) -> None:
    assert classify_name(name) == frozenset(kinds)


def test_an_amount_is_not_personal() -> None:
    assert PERSONAL not in classify_name("address_count")
    assert PHONE not in classify_name("phone_rate")
    assert NameKind.TIME not in classify_name("created_expiry_date")


@given(st.text(max_size=30))
def test_any_text_has_kinds(name: str) -> None:
    kinds = classify_name(name)
    assert kinds <= set(NameKind)
    assert not ({PHONE, NATIONAL_ID, PAYMENT} & kinds and PERSONAL not in kinds)


@given(
    st.sampled_from([name for text in NAMES.values() for name in text.split("|") if name.isascii() and name.islower()])
)
def test_case_and_punctuation_do_not_matter(name: str) -> None:
    words = name.replace("_", " ")
    assert classify_name(words.title()) == classify_name(name.upper()) == classify_name(words.replace(" ", "-"))
