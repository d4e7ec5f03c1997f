"""A few English antonyms, for where no file of them is at hand."""

from blindspots.texts.tables import both_ways

_PAIRS = """
good bad, good evil, good poor, good awful, good terrible, great awful, great terrible, best worst, better worse,
excellent poor, excellent terrible, wonderful terrible, brilliant dull, brilliant stupid, love hate, loved hated,
loves hates, like dislike, liked disliked, likes dislikes, like hate, enjoy hate, enjoyed hated, happy sad,
happy unhappy, funny unfunny, funny serious, funny boring, interesting boring, interesting dull, exciting boring,
exciting dull, entertaining boring, engaging boring, fresh stale, fresh old, new old, young old, original derivative,
original unoriginal, clever stupid, clever foolish, smart stupid, smart dumb, intelligent stupid, wise foolish,
beautiful ugly, pretty ugly, attractive unattractive, pleasant unpleasant, comfortable uncomfortable, clean dirty,
easy hard, easy difficult, simple complex, simple complicated, clear unclear, clear confusing, strong weak,
strength weakness, success failure, successful unsuccessful, succeed fail, succeeds fails, succeeded failed, win lose,
wins loses, won lost, right wrong, true false, real fake, real unreal, honest dishonest, kind cruel, kind unkind,
polite rude, gentle rough, friendly unfriendly, friendly hostile, fast slow, quick slow, quickly slowly, hot cold,
warm cool, light dark, bright dark, bright dull, loud quiet, full empty, rich poor, cheap expensive, big small,
large small, long short, tall short, high low, deep shallow, wide narrow, thick thin, heavy light, hard soft,
early late, always never, often rarely, all none, every no, more less, most least, many few, much little, first last,
begin end, beginning end, begins ends, start stop, start finish, open close, opened closed, rise fall,
increase decrease, up down, in out, on off, over under, above below, before after, here there, near far, inside outside,
with without, yes no,
alive dead, life death, born died, war peace, friend enemy, hero villain, man woman, men women, male female, boy girl,
husband wife, father mother, son daughter, brother sister, king queen, day night, day evening, accept reject,
accepted rejected, agree disagree, agreed disagreed, remember forget, memorable forgettable, believable unbelievable,
convincing unconvincing, likely unlikely, likeable unlikeable, possible impossible, necessary unnecessary,
predictable unpredictable, usual unusual, common rare, special ordinary, perfect imperfect, perfect flawed,
complete incomplete, satisfied dissatisfied, satisfying unsatisfying, satisfying disappointing, impressive unimpressive,
impressed unimpressed, inspired uninspired, recommend avoid, praise criticise, praise blame, hope despair,
hopeful hopeless, useful useless, careful careless, meaningful meaningless, positive negative, optimistic pessimistic,
advantage disadvantage, pro con, safe dangerous, healthy sick, reliable unreliable, fair unfair, polished rough
"""
ANTONYMS = both_ways((a, b) for a, b in (pair.split() for pair in _PAIRS.split(",")))
