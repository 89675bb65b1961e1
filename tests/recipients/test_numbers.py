"""A number without a country code is read both ways, and never becomes a stranger's in silence."""

import io

import pytest
from prefect_whatsapp.models.errors import RecipientListError
from prefect_whatsapp.recipients.headings import column_of
from prefect_whatsapp.recipients.reader import ListChunk, read_recipients

DE, BR = "+4915123456789", "+5511912345678"


def one(cell: str, region: str, country: str | None = None) -> ListChunk:
    """The outcome of a list of one row."""
    text = f"phone;name\n{cell};Ada\n" if country is None else f"phone;country\n{cell};{country}\n"
    [chunk] = read_recipients(io.BytesIO(text.encode()), default_region=region)
    return chunk


@pytest.mark.parametrize(
    ("cell", "region", "address", "completed"),
    [
        ("4915123456789", "DE", DE, False),
        ("0049 1512 3456789", "DE", DE, False),
        ("01512 3456789", "DE", DE, True),
        ("(01512) 3456789", "DE", DE, True),
        ("5511912345678", "DE", BR, False),
        ("(11) 91234-5678", "BR", BR, True),
        ("11912345678", "BR", BR, True),
        ("5511912345678", "BR", BR, False),
        ("447400123456", "US", "+447400123456", False),
        ("011 44 7400 123456", "US", "+447400123456", False),
        ("07400 123456", "GB", "+447400123456", True),
        ("16505550123", "US", "+16505550123", False),
        ("6505550123", "US", "+16505550123", True),
        ("8 912 345-67-89", "RU", "+79123456789", False),
        ("+16505550123", "DE", "+16505550123", False),
    ],
)
def test_what_is_valid_in_one_way_is_read_in_that_way(cell: str, region: str, address: str, completed: bool) -> None:
    chunk = one(cell, region)
    assert [recipient.to for recipient in chunk.usable] == [address]
    assert dict(chunk.completed) == ({region: 1} if completed else {})


@pytest.mark.parametrize(
    ("cell", "region", "readings"),
    [
        ("79123456789", "DE", ("+49 …6789 (DE)", "+7 …6789 (RU)")),
        ("15125550123", "DE", ("+49 …0123 (DE)", "+1 …0123 (US)")),
        ("479 555 0123", "US", ("+1 …0123 (US)", "+47 …0123 (NO)")),
    ],
)
def test_what_may_be_two_peoples_is_removed_with_both_readings_masked(
    cell: str, region: str, readings: tuple[str, str]
) -> None:
    [row] = one(cell, region).removed
    assert row.reason == (
        f"two readings without a +: {readings[0]} or {readings[1]}; write it with + and its country code, or add a column "
        "called country"
    )


@pytest.mark.parametrize(
    ("cell", "region"),
    [("(11) 91234-5678", "DE"), ("491512345678", "DE"), ("0000000000", "US"), ("1234567890", "US"), ("650555", "US")],
)
def test_what_is_valid_in_no_way_is_removed(cell: str, region: str) -> None:
    [row] = one(cell, region).removed
    assert row.reason.startswith(("not a valid number in", "not a possible phone number", "not a phone number"))


@pytest.mark.parametrize(
    ("cell", "country", "address"),
    [
        ("11912345678", "BR", BR),
        ("11912345678", "+55", BR),
        ("11912345678", "55", BR),
        ("015123456789", "de", DE),
        ("15123 456789", "DE", DE),
        ("479 555 0123", "US", "+14795550123"),
        ("07400 123456", "UK", "+447400123456"),
        ("+447400123456", "Narnia", "+447400123456"),
        ("6505550123", "", "+16505550123"),
    ],
)
def test_a_country_of_the_rows_own_goes_before_the_default(cell: str, country: str, address: str) -> None:
    assert [recipient.to for recipient in one(cell, "US", country).usable] == [address]


@pytest.mark.parametrize(
    ("cell", "country", "reason"),
    [
        ("6505550123", "Narnia", "its country is neither a two-letter code such as DE nor a calling code such as +49"),
        ("5511912345678", "DE", "not a valid number in DE: it could be +55 …5678 (BR)"),
    ],
)
def test_a_country_that_does_not_fit_removes_the_row(cell: str, country: str, reason: str) -> None:
    assert [row.reason for row in one(cell, "US", country).removed] == [reason]


@pytest.mark.parametrize(
    ("heading", "column"),
    [
        ("Telefon", "phone"),
        ("Handy-Nr.", ""),
        ("Handynummer", "phone"),
        ("телефон", "phone"),
        ("Номер телефона", "phone"),
        ("Celular", "phone"),
        ("teléfono", "phone"),
        ("TELEFONO", "phone"),
        ("Número de teléfono", "phone"),
        ("téléphone", "phone"),
        ("Telemóvel", "phone"),
        ("手机号码", "phone"),
        ("電話番号", "phone"),
        ("휴대폰", "phone"),
        ("رقم الهاتف", "phone"),
        ("मोबाइल", "phone"),
        ("Nomor HP", "phone"),
        ("Имя", "name"),
        ("País", "country"),
        ("Land", "country"),
        ("comment", ""),
    ],
)
def test_headings_of_the_big_languages_are_known(heading: str, column: str) -> None:
    assert column_of(heading) == column


SECRETS = [
    "root:$6$canary$hash:19000:0:99999:7:::\nadmin:canary\n",
    "AWS_SECRET_ACCESS_KEY=canary\nTOKEN=canary\n",
    "-----BEGIN KEY-----\ncanary\n",
    '{"password": "canary", "canary": 1}\n',
    '["canary", "secret canary"]',
    "canary;canary;canary\n",
    "to;canary\ncanary;canary\n",
]


@pytest.mark.parametrize("content", SECRETS)
def test_no_cell_and_no_heading_of_a_file_is_ever_quoted(content: str) -> None:
    told: list[str] = []
    try:
        for chunk in read_recipients(io.BytesIO(content.encode()), filename="list.csv", default_region="US"):
            told += [row.reason for row in chunk.removed]
    except RecipientListError as refused:
        told.append(str(refused))
    assert told
    assert "canary" not in " ".join(told)
