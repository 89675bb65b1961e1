"""The words by which people opt out and in again.

Only the whole message counts: "STOP" is one, "please don't stop" is none. Peers that looked for the word anywhere in a
text opted out people who wrote about stopping something else (ProgressiveCoders/Spoke#1016).
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

# By language; several are written without their accents as well. "Stop promotions" is what Meta's own button for opting out
# of marketing templates says.
STOP_WORDS: Mapping[str, tuple[str, ...]] = {
    "en": (
        "stop",
        "stop all",
        "stopall",
        "unsubscribe",
        "cancel",
        "end",
        "quit",
        "opt out",
        "opt-out",
        "optout",
        "stop promotions",
    ),
    "es": ("parar", "alto", "baja", "darme de baja", "cancelar", "no más mensajes", "no mas mensajes"),
    "pt": ("parar", "pare", "sair", "cancelar", "descadastrar", "remover"),
    "fr": ("arrêt", "arret", "arrêter", "arreter", "désabonner", "desabonner", "se désabonner"),
    "de": ("stopp", "abmelden", "abbestellen", "austragen"),
    "it": ("ferma", "cancella", "cancellami", "disiscrivi", "disiscrivimi"),
    "nl": ("afmelden", "uitschrijven"),
    "pl": ("rezygnuję", "rezygnuje", "wypisz"),
    "tr": ("dur", "iptal", "durdur"),
    "id": ("berhenti", "batal"),
    "ru": ("стоп", "отписаться", "отмена"),
    "uk": ("стоп", "відписатися"),
    "hi": ("रोकें", "बंद करें"),
    "ar": ("إيقاف", "ايقاف", "توقف", "إلغاء", "الغاء"),
    "he": ("הסר", "עצור"),
    "sw": ("acha", "simama"),
}
START_WORDS: Mapping[str, tuple[str, ...]] = {
    "en": ("start", "unstop", "subscribe", "opt in", "opt-in", "optin", "resume promotions"),
    "es": ("empezar", "iniciar", "alta", "darme de alta"),
    "pt": ("iniciar", "começar", "comecar", "voltar"),
    "fr": ("démarrer", "demarrer", "commencer"),
    "de": ("anmelden",),
    "it": ("inizia", "iscrivimi"),
    "ru": ("старт", "подписаться"),
    "ar": ("ابدأ", "ابدا"),
}
# Turkish İ is i and a dot of its own in small letters; the other makes a sign before it an emoji.
_NOT_SEEN = {ord("\u0307"): None, ord("\ufe0f"): None}


def _folded(text: str) -> str:
    """The text as words are compared: in small letters, without what stands around it, such as "!" or a 🛑."""
    # Format characters: the marks that phones put around what is written from right to left.
    shown = "".join(c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf")
    plain = re.sub(r"\s+", " ", shown.casefold().translate(_NOT_SEEN))
    said = [place for place, c in enumerate(plain) if unicodedata.category(c)[0] in "LMN"]
    return plain[said[0] : said[-1] + 1] if said else ""


def _all(words: Mapping[str, Iterable[str]]) -> frozenset[str]:
    return frozenset(_folded(word) for each in words.values() for word in each)


@dataclass(frozen=True)
class Words:
    """Lists of words that opt out and in.

    Attributes:
        stop: Whole messages that mean no more messages.
        start: Whole messages that take it back.

    Example:
        >>> Words().meaning(" Stop! ")
        ('stop', True)
        >>> Words().meaning("We have got to stop this")
        ('', None)
        >>> Words.of(stop=["no gracias"]).meaning("No gracias")
        ('no gracias', True)
    """

    stop: frozenset[str] = field(default_factory=lambda: _all(STOP_WORDS))
    start: frozenset[str] = field(default_factory=lambda: _all(START_WORDS))

    @classmethod
    def of(cls, *, stop: Iterable[str] = (), start: Iterable[str] = ()) -> "Words":
        """A list of one's own in place of the built-in ones; an empty list keeps the built-in one."""
        own_stop, own_start = _all({"": stop}) - {""}, _all({"": start}) - {""}
        return cls(own_stop or _all(STOP_WORDS), own_start or _all(START_WORDS))

    def meaning(self, text: str) -> tuple[str, bool | None]:
        """The word that a message is, and whether it opts out; empty and None where it is none."""
        word = _folded(text)
        if word in self.stop:
            return word, True
        return (word, False) if word in self.start else ("", None)
