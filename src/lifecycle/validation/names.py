"""What the name of a column says about its content, in fourteen languages.

A name is evidence, not proof: it is used together with the column's values. The words are English, German, French, Spanish,
Italian, Portuguese, Dutch, Polish, Swedish, Danish, Norwegian, Finnish, Czech and Turkish.
"""

from __future__ import annotations

import re
import unicodedata
from enum import StrEnum
from functools import cache


class NameKind(StrEnum):
    """What a column's name may say about its content."""

    PERSONAL = "personal"  # identifies a person: name, address, contact, or one of the next three
    PHONE = "phone"  # a telephone number; also PERSONAL
    NATIONAL_ID = "national id"  # of persons or taxpayers, passports; also PERSONAL
    PAYMENT = "payment"  # a bank account or payment card; also PERSONAL
    PROTECTED = "protected"  # a characteristic by which people must not be treated differently, or a close proxy
    IDENTIFIER = "identifier"
    CODE = "code"  # of digits or letters, whatever it looks like: never a quantity
    TIME = "time"  # may be the time of a row
    OTHER_TIME = "other time"  # a time, but not that of a row: birth, expiry, last change; never with TIME
    QUANTITY = "quantity"
    OUTCOME = "outcome"  # what one may want to predict


def _split(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


_BIRTH = """birthdate birthday birth_date date_birth dob geburtsdatum geburtstag geb_dat gebdat geb_datum date_naissance
    fecha_nacimiento fec_nac fecha_nac data_nascita data_nascimento geboortedatum geboorte_datum data_urodzenia fodelsedatum
    fodselsdato fodselsdag syntymaaika syntyma_aika syntymapaiva datum_narozeni dogum_tarihi"""
# Words of names, a phrase with `_` between its words. A phrase also matches when it is written as one word, and words such as
# `of`, `de` or `van` between its words do not matter. The longest phrase wins.
_WORDS = {
    NameKind.PERSONAL: """
        email e_mail mail mailadresse courriel correo epost e_post sahkoposti eposta e_posta postadresse
        address addr adresse adres adress adresa direccion indirizzo endereco morada osoite adresi
        anschrift street strasse rue calle domicilio via rua ulica straat gata gade vej katu ulice
        sokak cadde house_number hausnummer hausnr housenumber
        firstname lastname surname forename fullname middlename maidenname nachname vorname familienname zuname prenom
        apellido apellidos cognome cognomen sobrenome apelido achternaam voornaam familienaam imie nazwisko fornamn efternamn
        fornavn efternavn etternavn etunimi sukunimi krestni_jmeno prijmeni soyad soyadi ad_soyad nom_famille
        given_name family_name first_name last_name middle_name maiden_name full_name nickname username user_name login_name
        screen_name mother_maiden_name nombre_completo nombre_apellidos nome_cognome nome_completo
        ip_address ip_adresse ip_addr ipaddress adresse_ip direccion_ip client_ip remote_addr src_ip dst_ip mac_address mac_addr
        license_plate licence_plate number_plate kfz_kennzeichen matricule_vehicule
        biometric fingerprint signature unterschrift kontakt contact contacto contatto """
    + _BIRTH,
    NameKind.PHONE: """
        phone telephone telefon telefono telefone telefoon tel telnr telefonnummer telefonnr phoneno phonenumber
        mobile mobile_phone cellphone cell_phone handy handynummer handynr mobil mobilnummer mobilnr mobiltelefon
        celular movil cellulare telemovel mobiel mobielnummer komorka puhelin puhelinnumero matkapuhelin
        tlf tlfnr gsm msisdn fax faxnummer telefax whatsapp rufnummer festnetz telefonu cep_tel cep_telefonu ceptel
        kontakt contact contact_number kontaktnummer contacto contatto caller_number callee_number""",
    NameKind.NATIONAL_ID: """
        ssn social_security social_security_number social_insurance_number national_id national_identifier nationalid
        national_insurance national_insurance_number nino nhs_number nhs_no nhs personal_id personal_identity_number
        personal_number identity_card identity_number id_card idcard id_card_number citizen_id tax_id taxid tax_number
        taxpayer_id tax_file_number tax_identification_number vat_number vat_id vat_no passport passport_number passport_no
        driver_license drivers_license driver_licence driving_licence fuhrerschein fuhrerscheinnummer
        sozialversicherungsnummer sozialversicherung sv_nummer svnr sv_nr rentenversicherungsnummer rvnr steuer_id steuerid
        steuernummer steuer_nr identifikationsnummer idnr ausweis ausweisnummer personalausweis reisepass passnummer
        securite_sociale numero_securite_sociale num_secu numero_secu nir insee_nir passeport carte_identite carte_vitale
        dni dni_nie nif nie_nif pasaporte seguridad_social numero_seguridad_social cedula rut curp cuil cuit nss
        codice_fiscale cod_fiscale codfisc cod_fisc passaporto carta_identita partita_iva cpf cnpj cpf_cnpj contribuinte
        numero_contribuinte bsn burgerservicenummer rijksregisternummer paspoort pesel nip dowod_osobisty nr_dowodu paszport
        personnummer personnr samordningsnummer cpr cprnr cpr_nr cprnummer fodselsnummer fodselsnr hetu henkilotunnus
        henkiloturvatunnus sotu rodne_cislo tc_kimlik tckn kimlik kimlik_no tc_no vergi_no aadhaar aadhar aadhaar_number
        uidai pan_card pan_number pan_no medicare_number tfn oib egn cnp amka avs_nummer ahv_nummer ahvnr""",
    NameKind.PAYMENT: """
        iban bban account_number account_no acct_no acct_num account_nr bank_account bank_account_number bank_acct
        card_number card_no card_num cardnumber cardno cc_number cc_num cc_no credit_card credit_card_number debit_card_number
        creditcard ccnum kontonummer kontonr konto_nr bankkonto bankverbindung kreditkarte kreditkartennummer
        kartennummer karten_nr numero_compte compte_bancaire rib carte_bancaire numero_carte num_carte cuenta_bancaria
        numero_cuenta num_cuenta tarjeta numero_tarjeta conto_corrente numero_conto carta_credito numero_carta
        conta_bancaria numero_conta conta_corrente numero_cartao cartao_credito rekeningnummer bankrekening kaartnummer
        numer_konta nr_konta rachunek_bankowy numer_karty bankkontonummer kontonummeret kortnummer kortnr
        tilinumero pankkitili korttinumero cislo_uctu cislo_karty hesap_no kart_no kart_numarasi""",
    NameKind.PROTECTED: """
        gender sex geschlecht genre sexe sexo sesso genero genere geslacht plec kon kjonn sukupuoli pohlavi cinsiyet anrede
        salutation civilite
        age ages age_group age_band age_range agegroup alter altersgruppe lebensalter edad idade leeftijd wiek alder
        ika ikaryhma vek yas senior senior_citizen
        nationality nationalities nationalitat staatsangehorigkeit staatsburgerschaft nationalite nacionalidad nazionalita
        cittadinanza nacionalidade nationaliteit narodowosc obywatelstwo nationalitet statsborgerskab statsborgerskap
        medborgarskap kansalaisuus narodnost statni_prislusnost uyruk citizenship citizen citizen_status native_country
        country_birth birth_country place_birth birthplace birth_place geburtsort geburtsland birth_year year_birth geburtsjahr annee_naissance lieu_naissance pays_naissance
        lugar_nacimiento pais_nacimiento luogo_nascita geboorteplaats geboorteland miejsce_urodzenia fodelseland
        immigrant immigration_status migrant migrationshintergrund foreign_worker foreigner auslander refugee
        race ethnicity ethnic ethnic_group ethnie ethnische_herkunft etnia etnicidad raza razza raca origine_ethnique
        skin_color skin_colour caste tribe hispanic indigenous aboriginal
        religion religious confession konfession religionszugehorigkeit religiosite religione religiao religie wyznanie
        uskonto nabozenstvi faith
        marital marital_status married maritalstatus civil_status familienstand etat_civil situation_familiale estado_civil
        stato_civile burgerlijke_staat stan_cywilny civilstand civilstatus sivilstand siviilisaaty rodinny_stav
        medeni_hal medeni_durum
        disability disabilities disabled handicap handicapped behinderung schwerbehindert schwerbehinderung invalidite
        discapacidad minusvalia disabilita deficiencia invaliditeit niepelnosprawnosc handikapp vammaisuus invalidita engelli
        pregnancy pregnant schwanger schwangerschaft grossesse enceinte embarazo embarazada gravidanza gravidez zwanger
        zwangerschap ciaza gravid raskaus tehotenstvi hamile maternity maternity_leave parental_leave
        sexual_orientation orientation_sexuelle sexuelle_orientierung orientacion_sexual orientamento_sessuale
        orientacao_sexual seksuele_geaardheid lgbt lgbtq transgender gender_identity
        native_language mother_tongue first_language native_speaker muttersprache langue_maternelle lengua_materna
        madrelingua lingua_materna moedertaal jezyk_ojczysty modersmal aidinkieli materstina ana_dili
        political political_party political_opinion party_affiliation politische_meinung union_member trade_union
        gewerkschaft veteran veteran_status genetic""",
    NameKind.IDENTIFIER: """
        id ids uuid guid rowid identifier identifiant identificador identificativo identyfikator kennung tunnus tunniste
        uid oid pk primary_key hash checksum index_level serial_number seriennummer numero_serie row_number rownumber
        row_num row_names row_name row_no record_number record_no record_name case_number case_no unnamed contact_id kontakt_id phone_id mobile_id email_id address_id""",
    NameKind.CODE: """
        code codes kode kod kody codigo codice koodi kodu schlussel codepostal
        zip zipcode plz postleitzahl postcode postal postnummer postnr codigo_postal code_postal kod_pocztowy
        postinumero psc cep posta_kodu pincode pin_code eircode
        fips sku ean gtin upc isbn issn icd cpt atc ndc naics nace ateco cnae sic sbi siren siret bic swift sort_code
        bankleitzahl blz routing_number aba iata icao mcc mnc isin cusip wkn hs_code tariff_code zolltarifnummer taric
        branch_code filialnummer area_code vorwahl dialing_code artikelnummer artikelnr artnr article_number part_number
        part_no item_number item_no catalog_number model_number kennzahl kennziffer gemeindeschlussel ags lsoa msoa geohash
        vin imei chassis_number""",
    NameKind.TIME: """
        date dates datetime timestamp time times ts day month period when at created created_at created_on datestamp
        datum zeit zeitpunkt uhrzeit zeitstempel monat jour heure horodatage horodate mois cree fecha hora fechahora
        dia mes creado dt_hr data ora giorno mese orario data_ora dia_hora criado datum_tijd tijd tijdstip maand
        aangemaakt czas dzien miesiac data_czas utworzono tidpunkt tidspunkt tidsstampel manad dato klokkeslett oprettet
        opprettet skapad paivamaara paiva pvm aika aikaleima kuukausi luotu datum_cas mesic vytvoreno tarih
        tarihi zaman saat ay olusturma yearmonth year_month event_time order_date orderdate""",
    NameKind.OTHER_TIME: """
        birth born geboren geburt naissance nacimiento nascita nascimento geboorte urodzenia fodelse fodsel syntyma narozeni
        dogum birth_year year_birth geburtsjahr annee_naissance geboortejaar rok_urodzenia syntymavuosi dogum_yili
        expiry expires expiration expiration_date expiry_date expire valid_until valid_to valid_thru ablauf ablaufdatum
        gultig_bis vencimiento caducidad scadenza validade vencimento vervaldatum waznosci utgangsdatum
        udlobsdato utlopsdato platnost due due_date deadline fallig falligkeit falligkeitsdatum echeance date_limite
        end end_date ended enddatum ende date_fin fecha_fin fine_data data_fine data_fim einddatum koniec
        slutdatum slutdato loppupvm konec bitis
        updated updated_at update_date modified modified_at last_modified last_updated changed geandert aktualisiert
        modifie mis_jour actualizado modificado aggiornato atualizado gewijzigd zmieniono andrad endret muokattu
        zmeneno guncelleme last_login last_seen last_visit last_contact deleted deleted_at
        death death_date date_death dod deceased """
    + _BIRTH,
    NameKind.QUANTITY: """
        amount price cost costs fee fees charge charges calls minutes tenure sum total subtotal balance income salary wage revenue sales profit turnover spend budget
        count quantity qty rate ratio percent percentage pct share score weight height width length size volume area distance
        duration temperature speed population average avg mean median std min max loan_amount limit rent tax discount
        betrag preis kosten summe gesamt saldo einkommen gehalt umsatz gewinn anzahl menge anteil gewicht hohe lange grosse
        flache entfernung dauer miete rabatt montant prix cout solde revenu salaire quantite taux poids taille surface
        duree loyer remise importe precio costo coste ingreso ingresos salario cantidad tasa peso altura superficie
        duracion alquiler descuento importo prezzo reddito stipendio quantita tasso altezza durata affitto sconto valor preco
        custo renda quantidade taxa largura desconto bedrag prijs inkomen salaris aantal hoogte lengte oppervlakte
        duur huur korting kwota cena koszt dochod wynagrodzenie ilosc liczba waga belopp pris inkomst antal vikt belob
        indkomst antall inntekt summa hinta tulot palkka maara lukumaara paino castka prijem plat pocet mnozstvi vaha tutar
        fiyat gelir maas adet miktar agirlik usd eur gbp kg km cm""",
    NameKind.OUTCOME: """
        target label outcome response churn churned default defaulted fraud is_fraud survived converted conversion attrition
        cancelled canceled returned approved rejected purchased bought subscribed deposit_subscribed diagnosis died deceased
        readmitted exited clicked abgewandert gekundigt kundigung ausfall zahlungsausfall betrug ziel zielvariable
        resiliation desabonnement cible fraude impago objetivo insolvenza abbandono frode alvo inadimplente cancelou
        opgezegd wanbetaling rezygnacja oszustwo uppsagd opsagt hedef""",
}  # fmt: skip
# Phrases that mean none of it, although a word of theirs does.
_NEITHER = """
    web_address memory_address email_domain mail_order phone_service street_view contact_center contact_count contact_type
    mobile_data mobile_app mobile_device cell_type cell_line cell_count cell_size cell_id
    account_age vehicle_age car_age house_age building_age property_age company_age device_age loan_age tenure_age file_age
    housing_median_age median_age game_genre music_genre movie_genre book_genre film_genre genre_music genre_film
    race_time race_id race_date race_number race_name race_distance sex_ratio
    data_usage data_used data_plan data_volume data_source data_type data_set data_center data_centre data_quality data_limit
    data_transfer data_gb data_mb time_spent time_in response_time lead_time waiting_time wait_time travel_time run_time
    runtime time_zone timezone part_time full_time time_series date_format
    body_mass_index price_index cons_price_idx default_payment_method default_value default_currency default_language
    area_type size_code page_number week_number month_number day_number dress_size max_age_days end_user end_point
    first_language_code birth_weight left_side left_arm weight_class rate_code rate_plan"""
# Words that count only when they are the whole name, or all of it but words for numbers.
_ALONE = {
    NameKind.NATIONAL_ID: "sin tin rg pan nie rc medicare",
    NameKind.IDENTIFIER: "index idx key serial number nr no num lfd lfdnr row record case nummer numero",
    NameKind.CODE: "cap",
    NameKind.PERSONAL: "ip",
    NameKind.PHONE: "cell portable",
    NameKind.PROTECTED: "eta",
    NameKind.OUTCOME: "y",
    NameKind.QUANTITY: "n",
    NameKind.PAYMENT: "konto",
}
# The ends of compounds in Germanic languages and Finnish, and of English words that are written as one.
_ENDINGS = {
    "nummer": NameKind.IDENTIFIER, "numero": NameKind.IDENTIFIER, "nr": NameKind.IDENTIFIER, "tunnus": NameKind.IDENTIFIER,
    "kennung": NameKind.IDENTIFIER, "code": NameKind.CODE, "kode": NameKind.CODE, "koodi": NameKind.CODE,
    "schlussel": NameKind.CODE, "schluessel": NameKind.CODE, "datum": NameKind.TIME, "zeitpunkt": NameKind.TIME,
    "uhrzeit": NameKind.TIME, "timestamp": NameKind.TIME, "pvm": NameKind.TIME, "telefon": NameKind.PHONE,
    "telefonnummer": NameKind.PHONE, "strasse": NameKind.PERSONAL, "vorname": NameKind.PERSONAL,
    "nachname": NameKind.PERSONAL, "adresse": NameKind.PERSONAL, "anschrift": NameKind.PERSONAL,
    "betrag": NameKind.QUANTITY, "preis": NameKind.QUANTITY, "summe": NameKind.QUANTITY, "anzahl": NameKind.QUANTITY,
    "bedrag": NameKind.QUANTITY, "prijs": NameKind.QUANTITY, "belopp": NameKind.QUANTITY,
}  # fmt: skip
# Words for a name, which is that of a person when every other word is one for a person, or a first, last or full one.
_NAMES = _split("name names nom nome nombre naam nazwa namn navn nimi jmeno isim adi namen")
_PERSONS = _split("""
    customer cust client user patient employee contact person student passenger owner holder driver guest member author
    applicant borrower debtor payer payee recipient sender beneficiary subscriber buyer seller agent manager doctor nurse
    teacher mother father spouse parent child player card account cardholder billing shipping display reporter insured
    worker staff kunde kunden patienten mitarbeiter benutzer nutzer inhaber empfanger kontakt versicherter ansprechpartner
    utilisateur patiente salarie employe assure abonne cliente usuario paciente empleado titular utente paziente dipendente
    utilizador funcionario klant gebruiker medewerker werknemer klient uzytkownik pacjent pracownik kund anvandare anstalld
    bruger medarbejder bruker ansatt pasient asiakas kayttaja potilas tyontekija zakaznik uzivatel pacient zamestnanec
    musteri kullanici hasta calisan first last full given family middle maiden legal complet completo completa""")
_ENTITIES = _PERSONS | _split("""
    order ord invoice transaction txn trans product prod item session device policy contract ticket booking reservation
    event record row case claim loan store shop asset document doc account acct vendor supplier company group household
    bestellung bestell auftrag auftrags rechnung rechnungs vertrag vertrags artikel produkt konto beleg filial
    commande facture contrat dossier produit fournisseur pedido factura contrato producto articulo poliza expediente
    ordine fattura contratto prodotto pratica polizza fatura produto bestelling factuur polis zamowienie zamowienia
    faktura umowy umowa ordre tilaus lasku sopimus objednavka smlouva siparis sozlesme""")
_NUMBERS = _split("no nr num number nbr nummer numer numero numarasi cislo nro nb")
_TAILS = _NUMBERS | _split("key ref reference referenz referencia riferimento")
_FLAGS = _split("has is had was flag verified consent opt optin indicator opened clicked type status lines plan")
_SMALL = _split("of the de du des del della delle di da do das dos der die das den van het")
_PERSON_KINDS = {NameKind.PHONE, NameKind.NATIONAL_ID, NameKind.PAYMENT}
_LONGEST = 4  # words of a phrase
_SPELLED = re.compile(r"([aou])e")  # ä, ö and ü without their dots
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_UNFOLDED = str.maketrans({"ł": "l", "Ł": "L", "ø": "o", "Ø": "O", "đ": "d", "ı": "i", "ß": "ss", "æ": "ae", "Æ": "Ae",
                           "œ": "oe", "Œ": "Oe", "°": "o"})  # fmt: skip


@cache
def classify_name(name: str) -> frozenset[NameKind]:
    """Return what a column's name says; nothing for most names.

    The name is split at capitals, digits and punctuation, case and accents do not matter, and only whole words count:
    `kundenNr`, `Fecha de nacimiento` and `geb_dat2` are understood, and `management` does not contain an age. Words for
    an amount or a yes and no take precedence over personal data: `phone_calls_count` and `has_email` hold none.
    """
    words = _split_words(name)
    plain = tuple(_SPELLED.sub(r"\1", word) for word in words)
    return frozenset(_settle(_classify_words(words) | _classify_words(plain), words))


def _split_words(name: str) -> tuple[str, ...]:
    """Return a name's words in lower case, without accents and digits."""
    plain = unicodedata.normalize("NFKD", name.translate(_UNFOLDED))
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return tuple(re.findall(r"[^\W\d_]+", _CAMEL.sub(" ", plain).lower()))


@cache
def _read_phrases() -> dict[tuple[str, ...], frozenset[NameKind]]:
    """Return the kinds of each phrase, written as several words and as one."""
    phrases: dict[tuple[str, ...], frozenset[NameKind]] = {}
    for kind, text in [*_WORDS.items(), (None, _NEITHER)]:
        kinds = frozenset(() if kind is None else {kind, NameKind.PERSONAL} if kind in _PERSON_KINDS else {kind})
        for entry in text.split():
            phrase = tuple(word for word in _split_words(entry) if word not in _SMALL)
            for words in {phrase, ("".join(phrase),)}:
                phrases[words] = phrases.get(words, frozenset()) | kinds
    return phrases


def _classify_words(words: tuple[str, ...]) -> set[NameKind]:
    """Return what the words of a name say together."""
    words = tuple(part for word in words if word not in _SMALL for part in _part_compound(word))
    kinds = _find_phrases(words)
    others = [word for word in words if word not in _NUMBERS]
    if len(words) == 1 or (words and others == [words[0]]):
        kinds |= {kind for kind, text in _ALONE.items() if words[0] in text.split()}
    if not _NAMES.isdisjoint(words) and _PERSONS.issuperset(set(others) - _NAMES):
        kinds.add(NameKind.PERSONAL)
    if len(words) > 1 and not kinds:
        if words[-1] in _TAILS or (not _NUMBERS.isdisjoint(words) and not _ENTITIES.isdisjoint(words)):
            kinds.add(NameKind.IDENTIFIER)
        elif words[0] in _NUMBERS:
            kinds.add(NameKind.QUANTITY)
    return kinds


def _settle(kinds: set[NameKind], words: tuple[str, ...]) -> set[NameKind]:
    """Return the kinds without those that others exclude."""
    if kinds & _PERSON_KINDS:
        kinds = (kinds | {NameKind.PERSONAL}) - {NameKind.IDENTIFIER}
    if NameKind.OTHER_TIME in kinds:
        kinds = kinds - {NameKind.TIME}
    if NameKind.QUANTITY in kinds or not _FLAGS.isdisjoint(words):
        kinds = kinds - _PERSON_KINDS - {NameKind.PERSONAL}
    return kinds


def _part_compound(word: str) -> tuple[str, ...]:
    """Return the parts of a word such as `customerid`; other words are one part."""
    if (word,) not in _read_phrases():
        for tail in ("id", "no", "nr", "number", "key", "code", "date", "name"):
            if word.endswith(tail) and word.removesuffix(tail) in _ENTITIES:
                return word.removesuffix(tail), tail
    return (word,)


def _find_phrases(words: tuple[str, ...]) -> set[NameKind]:
    """Return the kinds of the phrases in a name, of which the longest at each place counts."""
    phrases, kinds, start = _read_phrases(), set[NameKind](), 0
    while start < len(words):
        ends = range(min(len(words), start + _LONGEST), start, -1)
        end = next((end for end in ends if words[start:end] in phrases), None)
        kinds |= _read_ending(words[start]) if end is None else phrases[words[start:end]]
        start = end or start + 1
    return kinds


def _read_ending(word: str) -> set[NameKind]:
    """Return what the end of a compound says."""
    return {kind for ending, kind in _ENDINGS.items() if len(word) > len(ending) + 1 and word.endswith(ending)}
