"""The words of the embedded reviews: groups of synonyms, and what is said of what.

Every word of a group may replace every other one: same part of speech, same form, same verdict. No word is in two
groups, so a table of synonyms follows from the groups alone.
"""

from dataclasses import dataclass

GROUPS: dict[str, tuple[str, ...]] = {
    line.split(":")[0]: tuple(line.split(":")[1].split())
    for line in """
superb: superb excellent outstanding magnificent splendid marvellous wonderful terrific fantastic brilliant
good: good decent fine nice pleasant likeable enjoyable
funny: funny hilarious amusing witty comical
moving: moving touching poignant heartfelt
gripping: gripping thrilling exciting riveting compelling absorbing engaging captivating
clever: clever smart ingenious intelligent astute
fresh: fresh original inventive imaginative innovative
believable: believable convincing credible plausible
memorable: memorable unforgettable haunting
beautiful: beautiful lovely gorgeous stunning exquisite
friendly: friendly kind welcoming courteous polite attentive
delicious: delicious tasty scrumptious delectable flavourful appetising
clean: clean spotless tidy immaculate
cosy: cosy comfortable snug inviting
reliable: reliable dependable sturdy robust durable
quick: quick fast swift speedy prompt
graceful: graceful elegant stylish refined
fair: fair reasonable affordable modest
awful: awful terrible dreadful horrible atrocious abysmal appalling lousy
bad: bad poor weak inferior mediocre disappointing
boring: boring dull tedious dreary tiresome monotonous lifeless
silly: silly foolish stupid idiotic ridiculous ludicrous
stale: stale predictable formulaic derivative unoriginal hackneyed
contrived: contrived unconvincing implausible artificial
confusing: confusing muddled incoherent baffling
irritating: irritating annoying grating exasperating
forgettable: forgettable unremarkable bloodless
ugly: ugly hideous unsightly drab
rude: rude impolite unfriendly surly discourteous dismissive
bland: bland tasteless flavourless insipid soggy
dirty: dirty filthy grubby grimy
cramped: cramped stuffy uncomfortable draughty
flimsy: flimsy fragile shoddy unreliable rickety
slow: slow sluggish laggardly
clumsy: clumsy awkward inept amateurish
steep: steep excessive exorbitant outrageous
treat: treat delight pleasure joy
triumph: triumph success masterpiece gem
disaster: disaster catastrophe fiasco failure
letdown: letdown disappointment
bore: bore chore
pleased: pleased satisfied delighted
impressed: impressed dazzled wowed
displeased: displeased disappointed frustrated
annoyed: annoyed irritated exasperated irked
please: please satisfy
impress: impress dazzle wow
displease: displease disappoint frustrate
annoy: annoy irritate exasperate irk
loved: loved adored
liked: liked enjoyed relished appreciated
hated: hated loathed detested despised
disliked: disliked regretted
love: love adore
like: like enjoy relish appreciate
hate: hate loathe detest despise
dislike: dislike regret
very: very really truly extremely remarkably exceptionally
rather: rather fairly quite somewhat
expected: expected anticipated
found: found discovered
called: called labelled
thought: thought believed felt
critics: critics reviewers
friends: friends pals companions
colleagues: colleagues coworkers
wrong: wrong mistaken
right: right correct
film: film movie picture
plot: plot story storyline
acting: acting performance
actors: actors performers
ending: ending finale conclusion
script: script dialogue screenplay
music: music soundtrack
jokes: jokes gags punchlines
costumes: costumes outfits
scenery: scenery landscape
restaurant: restaurant bistro eatery
meal: meal dinner
soup: soup broth stew
dessert: dessert pudding
vegetables: vegetables greens
service: service staff
waiter: waiter server
prices: prices rates charges
dishes: dishes courses
tables: tables seats
book: book novel volume
prose: prose writing
heroine: heroine protagonist
chapters: chapters pages
pictures: illustrations drawings
hotel: hotel inn guesthouse
room: room bedroom chamber
bathroom: bathroom washroom
breakfast: breakfast buffet
porter: porter receptionist
beds: beds mattresses
garden: garden courtyard
phone: phone smartphone handset
screen: screen display
keys: keys buttons
case: case housing
speakers: speakers loudspeakers
software: software firmware
camera: camera lens
rainy: rainy wet
sunny: sunny bright
saw: saw watched
visited: visited tried
bought: bought purchased
chose: chose picked selected
children: children kids
entire: entire whole
finished: finished completed
""".strip().splitlines()
}

SYNONYMS: dict[str, tuple[str, ...]] = {
    word: tuple(other for other in words if other != word) for words in GROUPS.values() for word in words
}  # every word of the groups, in lower case, and what may stand for it, best first

# Adjectives by what they are said of: those that praise, those that blame.
ADJECTIVES: dict[str, tuple[str, str]] = {
    "any": ("superb good", "awful bad"),
    "story": (
        "gripping clever moving fresh believable memorable",
        "boring silly stale contrived confusing forgettable",
    ),
    "play": ("believable moving graceful memorable", "clumsy boring contrived irritating forgettable"),
    "wit": ("funny clever fresh", "silly stale irritating boring"),
    "look": ("beautiful graceful memorable", "ugly forgettable"),
    "sound": ("beautiful moving memorable", "irritating boring forgettable"),
    "taste": ("delicious memorable", "bland forgettable"),
    "manner": ("friendly quick graceful", "rude slow clumsy irritating"),
    "cost": ("fair", "steep"),
    "comfort": ("cosy clean", "cramped dirty ugly"),
    "making": ("reliable quick clever", "flimsy slow irritating"),
    "build": ("reliable graceful", "flimsy clumsy ugly"),
}

STRONG = ("superb", "awful")  # nothing is "rather superb"

# Verdicts of a whole, and what it did to the writer: words that praise, words that blame.
NOUNS = ("treat triumph", "disaster letdown bore")
EFFECTS = ("pleased impressed", "displeased annoyed")
EFFECT_STEMS = ("please impress", "displease annoy")
LIKINGS = ("loved liked", "hated disliked")
LIKING_STEMS = ("love like", "hate dislike")


@dataclass(frozen=True)
class Scene:
    """What a review is about. The values of `parts` and `several` are keys of ADJECTIVES.

    Attributes:
        whole: its group of names.
        kind: what is said of it, beside "any".
        parts: groups of names of its parts in the singular.
        several: the same in the plural.
        remarks: sentences without a verdict.
    """

    whole: str
    kind: str
    parts: dict[str, str]
    several: dict[str, str]
    remarks: tuple[str, ...]


SCENES = (
    Scene(
        "film",
        "story",
        {"plot": "story", "acting": "play", "ending": "story", "script": "wit", "music": "sound", "scenery": "look"},
        {"actors": "play", "jokes": "wit", "costumes": "look"},
        (
            "I {saw} {whole} on a {rainy} {day} with {name}",
            "{whole} runs for {minutes} minutes",
            "{name} plays a teacher from {city}",
            "{whole} is set in {city}",
        ),
    ),
    Scene(
        "restaurant",
        "comfort",
        {"meal": "taste", "soup": "taste", "dessert": "taste", "waiter": "manner", "service": "manner"},
        {"vegetables": "taste", "dishes": "taste", "prices": "cost", "tables": "comfort"},
        (
            "we {visited} {whole} on a {rainy} {day} with {name}",
            "we sat at table {number}",
            "{name} ordered for the {entire} group",
            "the bill came to {price} dollars",
        ),
    ),
    Scene(
        "book",
        "story",
        {"plot": "story", "prose": "play", "ending": "story", "heroine": "play"},
        {"chapters": "story", "pictures": "look", "jokes": "wit"},
        (
            "I read {whole} on the train to {city}",
            "{name} gave {whole} to the {children}",
            "{whole} tells of a doctor in {city}",
            "I {finished} {whole} in {number} days",
        ),
    ),
    Scene(
        "hotel",
        "comfort",
        {"room": "comfort", "bathroom": "comfort", "breakfast": "taste", "porter": "manner", "garden": "look"},
        {"beds": "comfort", "prices": "cost"},
        (
            "we stayed for {number} nights in {month}",
            "our window was on the {number}th floor",
            "{name} {chose} {whole} for the {entire} family",
            "we reached {city} on a {rainy} {day}",
        ),
    ),
    Scene(
        "phone",
        "making",
        {"screen": "look", "software": "making", "camera": "making", "case": "build"},
        {"keys": "build", "speakers": "sound"},
        (
            "I {bought} {whole} in {city} for {price} dollars",
            "I have used {whole} for {number} weeks",
            "{name} has the same one",
            "{whole} came with a charger in {month}",
        ),
    ),
)

NAMES = "Maria Peter Helen Oscar Amira Daniel Sofia Victor Nora Hugo Irene Samuel Clara Felix Yusuf Greta"
CITIES = "Boston Lisbon Dublin Chicago Vienna Geneva Oslo Toronto Madrid Prague Cairo Lima"
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday"
MONTHS = "January March April May July August October November"
