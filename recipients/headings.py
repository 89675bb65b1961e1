"""What authors call the columns of a list, in the big languages."""

import re
import unicodedata
from functools import lru_cache

_HEADINGS: dict[str, str] = {
    "to": "to recipient",
    "chat_id": "chatid jid",
    "phone": """
        phone phonenumber number mobile mobilenumber mobilephone cell cellphone tel telephone telephonenumber msisdn
        whatsapp whatsappnumber contactnumber
        telefon telefonnummer handy handynummer mobil mobilnummer mobiltelefon rufnummer nummer
        téléphone numérodetéléphone numéro portable telportable gsm
        teléfono númerodeteléfono número móvil celular telefonocelular
        telefone númerodetelefone telemóvel
        telefono numeroditelefono cellulare numerocellulare
        телефон номер номертелефона мобильный мобильныйтелефон моб тел сотовый мобільний номертелефону
        numer numertelefonu komórka telefonkomórkowy
        ceptelefonu cep telefonnumarası
        telefoon telefoonnummer mobiel mobielnummer
        telepon nomor nomortelepon nomorhp nohp hp ponsel
        điệnthoại sốđiệnthoại
        هاتف رقم رقمالهاتف جوال رقمالجوال موبايل
        फ़ोन फोन मोबाइल फोननंबर मोबाइलनंबर
        电话 手机 手机号 手机号码 电话号码 電話 電話番号 携帯 携帯電話 携帯番号 전화 전화번호 휴대폰 휴대전화 핸드폰
    """,
    "name": """
        name fullname displayname nombre nombrecompleto nome nomecompleto nom nomcomplet имя фио имяфамилия імя пiб
        imię imięinazwisko isim ad adsoyad naam nama namalengkap họtên الاسم اسم नाम 姓名 名字 名前 氏名 이름 성명
    """,
    "reply_to": "replyto quotedmsgid",
    "country": """
        country countrycode countryiso isocountry land ländercode staat pays país paese nazione страна країна kraj ülke
        negara quốcgia الدولة البلد देश 国家 國家 国 국가 나라
    """,
}


def _folded(heading: str) -> str:
    # Decomposed, so that accents and vowel signs fall away with spaces, underscores and dashes.
    return re.sub(r"[\W_]", "", unicodedata.normalize("NFKD", heading)).casefold()


_COLUMNS = {_folded(heading): column for column, headings in _HEADINGS.items() for heading in headings.split()}


@lru_cache(maxsize=1024)
def column_of(heading: str) -> str:
    """Give `to`, `chat_id`, `phone`, `name`, `reply_to` or `country` for a heading that means it; empty for any other.

    Example:
        >>> column_of("Phone number"), column_of("Teléfono"), column_of("номер телефона"), column_of("comment")
        ('phone', 'phone', 'phone', '')
    """
    return _COLUMNS.get(_folded(heading[:100]), "")
