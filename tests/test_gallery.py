"""The gallery: every template loads and says where it comes from; the published ones are what was published."""

from __future__ import annotations

import json
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fewshot import Template, TemplateError, Verbalizer, gallery
from fewshot.models.base import Turn

NAMES = gallery.names()
FOLDER = Path(__file__).resolve().parent.parent / "templates"
SNAPSHOT = Path(__file__).resolve().parent / "gallery_snapshot.json"
RENEW = "python -m tests.test_gallery"
LICENCES = ("Apache-2.0", "MIT", "none stated")

# What the snapshot is rendered with: capitals, quotes, punctuation, markup and braces must come through.
ROW = {
    "text": 'The plot is thin, but "Rosa" shines: {{ 5 }} of 5 & <b>more</b>!',
    "text_a": "A man sleeps on a bench...",
    "text_b": 'He Rests, "at last".',
    "span": "Rosa",
    "candidate": "music",
    "premise": 'Rosa said "no": {{ 5 }} & <b>more</b>!',
    "choice1": "The man Rests...",
    "choice2": 'Élan "left", at last.',
    "question": "cause",
    "choices": ["The man Rests...", 'Élan "left", at last.', "{{ 5 }}"],
}

POLAR = {"negative": "negative", "positive": "positive"}
TERRIBLE_GREAT = {"negative": "terrible", "positive": "great"}
NEG_POS = {"neg": "negative", "pos": "positive"}
BAD_GOOD = {"neg": "bad", "pos": "good"}
STARS = {"1 star": "terrible", "2 stars": "bad", "3 stars": "okay", "4 stars": "good", "5 stars": "great"}
YAHOO = {
    "Society & Culture": "Society",
    "Science & Mathematics": "Science",
    "Health": "Health",
    "Education & Reference": "Education",
    "Computers & Internet": "Computer",
    "Sports": "Sports",
    "Business & Finance": "Business",
    "Entertainment & Music": "Entertainment",
    "Family & Relationships": "Relationship",
    "Politics & Government": "Politics",
}
ENTAILS = {"entailment": "Yes", "not_entailment": "No"}
YES_MAYBE_NO = {"entailment": "Yes", "neutral": "Maybe", "contradiction": "No"}
TRUE_NEITHER_FALSE = {"entailment": "True", "neutral": "Neither", "contradiction": "False"}
FEW_NERD = {k: k for k in ("art", "building", "event", "location", "organization", "other", "person", "product")}
BANKING = (
    "activate my card, age limit, apple pay or google pay, atm support, automatic top up, balance not updated "
    "after bank transfer, balance not updated after cheque or cash deposit, beneficiary not allowed, cancel "
    "transfer, card about to expire, card acceptance, card arrival, card delivery estimate, card linking, card "
    "not working, card payment fee charged, card payment not recognised, card payment wrong exchange rate, card "
    "swallowed, cash withdrawal charge, cash withdrawal not recognised, change pin, compromised card, "
    "contactless not working, country support, declined card payment, declined cash withdrawal, declined "
    "transfer, direct debit payment not recognised, disposable card limits, edit personal details, exchange "
    "charge, exchange rate, exchange via app, extra charge on statement, failed transfer, fiat currency "
    "support, get disposable virtual card, get physical card, getting spare card, getting virtual card, lost or "
    "stolen card, lost or stolen phone, order physical card, passcode forgotten, pending card payment, pending "
    "cash withdrawal, pending top up, pending transfer, pin blocked, receiving money, Refund not showing up, "
    "request refund, reverted card payment?, supported cards and currencies, terminate account, top up by bank "
    "transfer charge, top up by card charge, top up by cash or cheque, top up failed, top up limits, top up "
    "reverted, topping up by card, transaction charged twice, transfer fee charged, transfer into account, "
    "transfer not received by recipient, transfer timing, unable to verify identity, verify my identity, verify "
    "source of funds, verify top up, virtual card not working, visa or mastercard, why verify identity, wrong "
    "amount of cash received, wrong exchange rate for cash withdrawal"
)
PAIR = {"text_a": "A man sleeps.", "text_b": "He Rests."}

# name -> a row, the label word, what stands before, the whole prompt, and the label words
LM_BFF = {
    "sst2/it_was": (
        "a joy to watch.",
        "great",
        "",
        "a joy to watch. It was great.",
        {"negative": "terrible", "positive": "great"},
    ),
    "sst5/it_was": (
        "a joy to watch.",
        "okay",
        "",
        "a joy to watch. It was okay.",
        {
            "very negative": "terrible",
            "negative": "bad",
            "neutral": "okay",
            "positive": "good",
            "very positive": "great",
        },
    ),
    "subj/this_is": (
        "he leaves town.",
        "objective",
        "",
        "he leaves town. This is objective.",
        {"subjective": "subjective", "objective": "objective"},
    ),
    "mnli/maybe": (
        {"text_a": "A man sleeps.", "text_b": "He Rests."},
        "Maybe",
        "",
        "A man sleeps? Maybe, he Rests.",
        {"contradiction": "No", "entailment": "Yes", "neutral": "Maybe"},
    ),
    "trec/colon": (
        "Who wrote it ?",
        "Human",
        "",
        "Human: Who wrote it ?",
        {
            "description": "Description",
            "entity": "Entity",
            "abbreviation": "Expression",
            "human": "Human",
            "location": "Location",
            "number": "Number",
        },
    ),
    "mrpc/same": (
        {"text_a": "A man sleeps.", "text_b": "He Rests."},
        "Yes",
        "",
        "A man sleeps. Yes, he Rests.",
        {"not_equivalent": "No", "equivalent": "Yes"},
    ),
    "mr/it_was": ("a joy to watch.", "great", "", "a joy to watch. It was great.", {"neg": "terrible", "pos": "great"}),
    "cr/it_was": ("a joy to watch.", "great", "", "a joy to watch. It was great.", TERRIBLE_GREAT),
    "mpqa/it_was": ("pure joy", "great", "", "pure joy It was great.", TERRIBLE_GREAT),
    "cola/this_is": (
        "he leaves town.",
        "incorrect",
        "",
        "he leaves town. This is incorrect.",
        {"unacceptable": "incorrect", "acceptable": "correct"},
    ),
    "snli/maybe": (PAIR, "Maybe", "", "A man sleeps? Maybe, he Rests.", YES_MAYBE_NO),
    "rte/maybe": (PAIR, "Yes", "", "A man sleeps? Yes, he Rests.", ENTAILS),
    "qnli/maybe": (
        {"text_a": "Who sleeps?", "text_b": "A man sleeps."},
        "Yes",
        "",
        "Who sleeps? Yes, a man sleeps.",
        ENTAILS,
    ),
    "qqp/same": (
        {"text_a": "Who sleeps?", "text_b": "Who Rests?"},
        "No",
        "",
        "Who sleeps? No, who Rests?",
        {"duplicate": "Yes", "not_duplicate": "No"},
    ),
}
PET = {
    "ag_news/category": (
        "Shares rise again.",
        "Business",
        "",
        "[ Category: Business ] Shares rise again.",
        {"World": "World", "Sports": "Sports", "Business": "Business", "Sci/Tech": "Tech"},
    ),
    "ag_news/news": (
        "Shares rise again.",
        "Business",
        "",
        "Business News: Shares rise again.",
        {"World": "World", "Sports": "Sports", "Business": "Business", "Sci/Tech": "Tech"},
    ),
    "yahoo_answers/question": ("Why is it wet?", "Science", "", "Science Question: Why is it wet?", YAHOO),
    "yahoo_answers/category": ("Why is it wet?", "Science", "", "[ Category: Science ] Why is it wet?", YAHOO),
    "yelp/it_was": ("Nice soup", "great", "", "It was great . Nice soup", STARS),
    "yelp/all_in_all": ("Nice soup", "great", "", "Nice soup . All in all, it was great .", STARS),
    "yelp/just": ("Nice soup", "great", "", "Just great ! Nice soup", STARS),
    "yelp/restaurant": ("Nice soup.", "great", "", "Nice soup. In summary, the restaurant is great .", STARS),
    "mnli/quoted": (
        PAIR,
        "Right",
        "",
        '" A man sleeps " ? Right , " He Rests. "',
        {"contradiction": "Wrong", "entailment": "Right", "neutral": "Maybe"},
    ),
    "mnli/plain": (PAIR, "Yes", "", "A man sleeps ? Yes , He Rests.", YES_MAYBE_NO),
    "rte/quoted": (PAIR, "Yes", "", '" He Rests " ? Yes , " A man sleeps. "', ENTAILS),
    "rte/plain": (PAIR, "Yes", "", "He Rests ? Yes , A man sleeps.", ENTAILS),
    "rte/question": (
        PAIR,
        "true",
        "",
        "A man sleeps. question: He Rests. True or False? answer: true",
        {"entailment": "true", "not_entailment": "false"},
    ),
    "cb/plain": (PAIR, "Maybe", "", "He Rests ? Maybe , A man sleeps.", YES_MAYBE_NO),
    "cb/question": (
        PAIR,
        "neither",
        "",
        "A man sleeps. question: He Rests. true, false or neither? answer: neither",
        {"contradiction": "false", "entailment": "true", "neutral": "neither"},
    ),
    "boolq/question_answer": (
        {"text_a": "It rained all day", "text_b": "was it wet"},
        "Yes",
        "",
        "It rained all day . Question: was it wet ? Answer: Yes .",
        {"False": "No", "True": "Yes"},
    ),
    "boolq/based_on": (
        {"text_a": "It rained all day", "text_b": "was it wet"},
        "Yes",
        "",
        "It rained all day . Based on the previous passage, was it wet ? Yes .",
        {"False": "No", "True": "Yes"},
    ),
    "xstance/quoted": (
        {"text_a": "More trams?", "text_b": "They are quiet."},
        "Yes",
        "",
        '" More trams? " Yes . " They are quiet. "',
        {"FAVOR": "Yes", "AGAINST": "No"},
    ),
    "xstance/plain": (
        {"text_a": "More trams?", "text_b": "They are quiet."},
        "Yes",
        "",
        "More trams? Yes . They are quiet.",
        {"FAVOR": "Yes", "AGAINST": "No"},
    ),
    "xstance/quoted_de": (
        {"text_a": "More trams?", "text_b": "They are quiet."},
        "Ja",
        "",
        '" More trams? " Ja . " They are quiet. "',
        {"FAVOR": "Ja", "AGAINST": "Nein"},
    ),
    "xstance/quoted_fr": (
        {"text_a": "More trams?", "text_b": "They are quiet."},
        "Oui",
        "",
        '" More trams? " Oui . " They are quiet. "',
        {"FAVOR": "Oui", "AGAINST": "Non"},
    ),
}
ZHAO = {
    "sst2/review": (
        "a joy to watch.",
        "Positive",
        "",
        "Review: a joy to watch.\nSentiment: Positive",
        {"negative": "Negative", "positive": "Positive"},
    ),
    "ag_news/article": (
        "Shares rise again.",
        "Technology",
        "Classify the news articles into the categories of World, Sports, Business, and Technology.\n\n",
        "Article: Shares rise again.\nAnswer: Technology",
        {"World": "World", "Sports": "Sports", "Business": "Business", "Sci/Tech": ["Technology", "Science"]},
    ),
    "trec/answer_type": (
        "Who wrote it ?",
        "Person",
        "Classify the questions based on whether their answer type is a Number, Location, Person, Description, Entity, "
        "or Abbreviation.\n\n",
        "Question: Who wrote it ?\nAnswer Type: Person",
        {
            "number": "Number",
            "location": "Location",
            "human": "Person",
            "description": "Description",
            "entity": "Entity",
            "abbreviation": "Ab",
        },
    ),
    "dbpedia14/article": (
        "Rosa is a rose.",
        "Plant",
        "Classify the documents based on whether they are about a Company, School, Artist, Athlete, Politician, "
        "Transportation, Building, Nature, Village, Animal, Plant, Album, Film, or Book.\n\n",
        "Article: Rosa is a rose.\nAnswer: Plant",
        {
            "Company": "Company",
            "EducationalInstitution": "School",
            "Artist": "Artist",
            "Athlete": "Ath",
            "OfficeHolder": "Polit",
            "MeanOfTransportation": "Transportation",
            "Building": "Building",
            "NaturalPlace": "Nature",
            "Village": "Village",
            "Animal": "Animal",
            "Plant": "Plant",
            "Album": "Album",
            "Film": "Film",
            "WrittenWork": "Book",
        },
    ),
}
KNN = {
    "sst5/review": (
        "a joy to watch.",
        "okay",
        "",
        "Review: a joy to watch.\nSentiment: okay",
        {
            "very negative": "terrible",
            "negative": "bad",
            "neutral": "okay",
            "positive": "good",
            "very positive": "great",
        },
    ),
    "mr/review": ("a joy to watch.", "positive", "", "Review: a joy to watch.\nSentiment: positive", NEG_POS),
    "cr/review": ("a joy to watch.", "positive", "", "Review: a joy to watch.\nSentiment: positive", POLAR),
    "mpqa/review": ("pure joy", "positive", "", "Review: pure joy\nSentiment: positive", POLAR),
    "subj/input_type": (
        "he leaves town.",
        "objective",
        "",
        "Input: he leaves town.\nType: objective",
        {"subjective": "subjective", "objective": "objective"},
    ),
    "trec/question_type": (
        "Who wrote it ?",
        "human",
        "",
        "Question: Who wrote it ?\nType: human",
        {
            "description": "description",
            "entity": "entity",
            "abbreviation": "expression",
            "human": "human",
            "location": "location",
            "number": "number",
        },
    ),
    "rte/prediction": (
        PAIR,
        "true",
        "",
        "premise: A man sleeps.\nhypothesis: He Rests.\nprediction: true",
        {"not_entailment": "false", "entailment": "true"},
    ),
    "cb/prediction": (
        PAIR,
        "neither",
        "",
        "premise: A man sleeps.\nhypothesis: He Rests.\nprediction: neither",
        {"contradiction": "false", "entailment": "true", "neutral": "neither"},
    ),
}
CHANNEL = {
    "ag_news/topic": (
        "Shares rise again.",
        "Business",
        "",
        "Topic: Business. Shares rise again.",
        {"World": "World", "Sports": "Sports", "Business": "Business", "Sci/Tech": "Technology"},
    ),
    "yahoo_answers/topic": (
        "Why is it wet?",
        "Health",
        "",
        "Topic: Health. Why is it wet?",
        {name: name for name in YAHOO},
    ),
    "dbpedia14/topic": (
        "Rosa is a rose.",
        "Plant",
        "",
        "Topic: Plant. Rosa is a rose.",
        {
            "Company": "Company",
            "EducationalInstitution": "Educational Institution",
            "Artist": "Artist",
            "Athlete": "Athlete",
            "OfficeHolder": "Office Holder",
            "MeanOfTransportation": "Mean of Transportation",
            "Building": "Building",
            "NaturalPlace": "Natural Place",
            "Village": "Village",
            "Animal": "Animal",
            "Plant": "Plant",
            "Album": "Album",
            "Film": "Film",
            "WrittenWork": "Written Work",
        },
    ),
}
HOLTZMAN = {
    "sst5/tone": (
        "a joy to watch.",
        "somewhat positive",
        "",
        '"a joy to watch." has a tone that is somewhat positive.',
        {
            "very negative": "very negative",
            "negative": "somewhat negative",
            "neutral": "neutral",
            "positive": "somewhat positive",
            "very positive": "very positive",
        },
    ),
}
OPENPROMPT = {
    "imdb/it_was": ("a joy to watch.", "good", "", "It was good . a joy to watch.", BAD_GOOD),
    "imdb/all_in_all": ("a joy to watch.", "good", "", "a joy to watch. All in all , it was good .", BAD_GOOD),
    "imdb/in_summary": ("a joy to watch.", "good", "", "a joy to watch. In summary , the film was good .", BAD_GOOD),
    "amazon_reviews/it_was": (
        "Good hat.",
        "good",
        "",
        "It was good . Good hat.",
        {"negative": "bad", "positive": "good"},
    ),
    "amazon_reviews/in_summary": (
        "Good hat.",
        "good",
        "",
        "Good hat. In summary , it was good .",
        {"negative": "bad", "positive": "good"},
    ),
    "ag_news/about": (
        "Shares rise again.",
        "business",
        "",
        "Shares rise again. This topic is about business .",
        {"World": "politics", "Sports": "sports", "Business": "business", "Sci/Tech": "technology"},
    ),
    "topic/about": ("Shares rise again.", "business", "", "Shares rise again. This topic is about business .", None),
    "topic/bracket": ("Shares rise again.", "business", "", "[ Topic : business ] Shares rise again.", None),
    "dbpedia14/category": (
        {"text_a": "Rosa", "text_b": "Rosa is a rose."},
        "plant",
        "",
        "Rosa Rosa is a rose. The category of Rosa is plant .",
        {
            "Company": "company",
            "EducationalInstitution": "school",
            "Artist": "artist",
            "Athlete": "athlete",
            "OfficeHolder": "politics",
            "MeanOfTransportation": "transportation",
            "Building": "building",
            "NaturalPlace": "river",
            "Village": "village",
            "Animal": "animal",
            "Plant": "plant",
            "Album": "album",
            "Film": "film",
            "WrittenWork": "book",
        },
    ),
    "entity_typing/is": (
        {"text": "Rosa left Rome .", "span": "Rome"},
        "location",
        "",
        "Rosa left Rome . Rome is location.",
        FEW_NERD,
    ),
    "entity_typing/in_this_sentence": (
        {"text": "Rosa left Rome .", "span": "Rome"},
        "location",
        "",
        "Rosa left Rome . In this sentence, Rome is a location.",
        FEW_NERD,
    ),
}
HARNESS = {
    "cb/true_false_neither": (
        {"text_a": "It rained all day.", "text_b": "It was wet"},
        "Neither",
        "",
        "It rained all day.\nQuestion: It was wet. True, False, or Neither?\nAnswer: Neither",
        TRUE_NEITHER_FALSE,
    ),
    "qnli/response": (
        {"text_a": "Who sleeps?", "text_b": "A man sleeps."},
        "yes",
        "",
        "Who sleeps?\nA man sleeps.\nQuestion: Does this response answer the question?\nAnswer: yes",
        {"entailment": "yes", "not_entailment": "no"},
    ),
    "mrpc/same_thing": (
        PAIR,
        "yes",
        "",
        "Sentence 1: A man sleeps.\nSentence 2: He Rests.\n"
        "Question: Do both sentences mean the same thing?\nAnswer: yes",
        {"equivalent": "yes", "not_equivalent": "no"},
    ),
    "boolq/passage_question": (
        {"text_a": "It rained all day", "text_b": "was it wet"},
        "yes",
        "",
        "It rained all day\nQuestion: was it wet?\nAnswer: yes",
        {"False": "no", "True": "yes"},
    ),
}
# promptsource writes "input ||| target". Here a line break stands for the bars where the source has one beside them,
# but a blank after a colon; else a blank.
PROMPTSOURCE = {
    "mr/enjoyed": (
        "a joy to watch.",
        "Yes",
        "",
        "a joy to watch. Did the reviewer enjoy the movie? Yes",
        {"neg": "No", "pos": "Yes"},
    ),
    "imdb/sentiment": (
        "a joy to watch.",
        "positive",
        "",
        "a joy to watch. The sentiment expressed for the movie is positive",
        NEG_POS,
    ),
    "imdb/good_or_bad": (
        "a joy to watch.",
        "good",
        "",
        "a joy to watch. Did the reviewer find this movie good or bad? good",
        BAD_GOOD,
    ),
    "yelp/my_rating": (
        "Nice soup.",
        "5 stars",
        "",
        "Nice soup.\n===\nBased on that, my rating is 5 stars",
        {name: name for name in STARS},
    ),
    "amazon_reviews/recommend": (
        "Good hat.",
        "Yes",
        "",
        "Based on this review, would the user recommend this product?\n===\nReview: Good hat.\nAnswer: Yes",
        {"negative": "No", "positive": "Yes"},
    ),
    "trec/asking_about": (
        "Who wrote it ?",
        "Person",
        "",
        "Is the following question asking about Abbreviation, Entity, Description, Person, Location, Quantity?\n\n"
        "Who wrote it ?\nPerson",
        {
            "abbreviation": "Abbreviation",
            "entity": "Entity",
            "description": "Description",
            "human": "Person",
            "location": "Location",
            "number": "Quantity",
        },
    ),
    "ag_news/section": (
        "Shares rise again.",
        "Business",
        "",
        "Shares rise again. \n\nWhich section of a newspaper would this article likely appear in?\nBusiness",
        {"World": "World News", "Sports": "Sports", "Business": "Business", "Sci/Tech": "Science and Technology"},
    ),
    "yahoo_answers/classify": (
        "Why is it wet?",
        "Science & Mathematics",
        "",
        "Given the question title below, classify the document into one of these topics: Society & Culture, Science & "
        "Mathematics, Health, Education & Reference, Computers & Internet, Sports, Business & Finance, Entertainment & "
        "Music, Family & Relationships, Politics & Government.\n\nQuestion: Why is it wet?\nScience & Mathematics",
        {name: name for name in YAHOO},
    ),
    "emotion/which_emotion": (
        "I won!",
        "joy",
        "",
        "Which emotion is best represented by the following tweet?\nI won!\n\n"
        "Possible emotions: anger, joy, optimism, sadness\njoy",
        {"anger": "anger", "joy": "joy", "optimism": "optimism", "sadness": "sadness"},
    ),
    "emotion/expressed": (
        "i won",
        "joy",
        "",
        "i won. The emotion expressed for the message is\njoy",
        {k: k for k in ("sadness", "joy", "love", "anger", "fear", "surprise")},
    ),
    "spam/marked_as": (
        "Win now",
        "spam",
        "",
        'The following sms message should be marked as "spam" or "not spam"? Win now\nspam',
        {"ham": "not spam", "spam": "spam"},
    ),
    "irony/yes_or_no": (
        "So nice.",
        "yes",
        "",
        "Is this tweet ironic? Answer with either yes or no. \n\nSo nice.\nyes",
        {"non_irony": "no", "irony": "yes"},
    ),
    "toxicity/civil_or_toxic": (
        "So nice.",
        "civil",
        "",
        "You are browsing the comment section of a website. You read the following comment:\n"
        '"So nice."\nWould you classify that comment as civil or toxic?\ncivil',
        {"not toxic": "civil", "toxic": "toxic"},
    ),
    "toxicity/find_it_toxic": (
        "So nice.",
        "no",
        "",
        '"So nice." Someone posted this comment online. Do you find it toxic?\nno',
        {"not toxic": "no", "toxic": "yes"},
    ),
    "offensive/identify": (
        "So nice.",
        "no",
        "",
        "Task: Identify if the tweet or text is offensive.\n\nTweet: So nice.\n\nPossible answers: yes, no\nno",
        {"non-offensive": "no", "offensive": "yes"},
    ),
    "hate/hate_or_not": (
        "So nice.",
        "no",
        "",
        "Is this a hateful tweet? \nSo nice.\nno",
        {"non-hate": "no", "hate": "yes"},
    ),
    "stance/climate_change": (
        "Act now!",
        "In favor",
        "",
        "Act now! Where does the author of the above sentence stand on climate change?\nIn favor",
        {"none": "Neutral", "against": "Against", "favor": "In favor"},
    ),
    "rte/imply": (
        PAIR,
        "yes",
        "",
        'Does "A man sleeps." imply that "He Rests."? Please answer either yes or no.\nyes',
        {"entailment": "yes", "not_entailment": "no"},
    ),
    "mnli/true_false_neither": (
        PAIR,
        "Neither",
        "",
        "A man sleeps.\nQuestion: He Rests. True, False, or Neither? Neither",
        TRUE_NEITHER_FALSE,
    ),
    "mnli/does_this_imply": (
        PAIR,
        "Maybe",
        "",
        'A man sleeps. \n\nQuestion: Does this imply that "He Rests."? Yes, no, or maybe? Maybe',
        YES_MAYBE_NO,
    ),
    "snli/true_false_neither": (
        PAIR,
        "Neither",
        "",
        "A man sleeps.\nQuestion: He Rests. True, False, or Neither? Neither",
        TRUE_NEITHER_FALSE,
    ),
    "snli/can_we_infer": (
        PAIR,
        "Maybe",
        "",
        'Suppose A man sleeps. Can we infer that "He Rests."? Yes, no, or maybe? Maybe',
        YES_MAYBE_NO,
    ),
    "qnli/based_only_on": (
        {"text_a": "Who sleeps?", "text_b": "A man sleeps."},
        "yes",
        "",
        'Can you answer the question "Who sleeps?" based only on the following:\nA man sleeps.\nyes',
        {"entailment": "yes", "not_entailment": "no"},
    ),
    "mrpc/equivalent": (
        PAIR,
        "equivalent",
        "",
        'Are the following two sentences "equivalent" or "not equivalent"?\nA man sleeps.\nHe Rests.\nequivalent',
        {"equivalent": "equivalent", "not_equivalent": "not equivalent"},
    ),
    "qqp/same_meaning": (
        {"text_a": "Who sleeps?", "text_b": "Who Rests?"},
        "No",
        "",
        "Question 1: Who sleeps?\nQuestion 2: Who Rests?\n\n"
        "Do these two questions convey the same meaning? Yes or no? No",
        {"duplicate": "Yes", "not_duplicate": "No"},
    ),
    "qqp/duplicates": (
        {"text_a": "Who sleeps?", "text_b": "Who Rests?"},
        "no",
        "",
        'I received the questions "Who sleeps?" and "Who Rests?". Are they duplicates? no',
        {"duplicate": "yes", "not_duplicate": "no"},
    ),
    "boolq/yes_no_question": (
        {"text_a": "It rained all day", "text_b": "was it wet"},
        "Yes",
        "",
        "Text: It rained all day\n\nAnswer the following yes/no question: was it wet? Yes or no?\nYes",
        {"False": "No", "True": "Yes"},
    ),
    "banking77/intent": (
        "Where is my card?",
        "card arrival",
        "",
        "What is the intent of this banking query?\nWhere is my card?\ncard arrival",
        {words.replace(" ", "_"): words for words in BANKING.split(", ")},
    ),
}
SUN = {"premise": "The sun rose.", "question": "cause", "choice1": "It was Time.", "choice2": "Rosa slept!"}
RAIN = {**SUN, "premise": "It rained?!", "question": "effect"}
COPA = {  # name -> both kinds of question with the second choice
    "copa/because": (
        "The sun rose because rosa slept!",
        "It rained? so rosa slept!",
    ),
    "copa/therefore": (
        "The sun rose because rosa slept!",
        "It rained? therefore rosa slept!",
    ),
    "copa/quoted": (
        '" it was Time " or " rosa slept "? The sun rose because rosa slept .',
        '" it was Time " or " rosa slept "? It rained , so rosa slept .',
    ),
    "copa/plain": (
        "it was Time or rosa slept ? The sun rose because rosa slept .",
        "it was Time or rosa slept ? It rained , so rosa slept .",
    ),
    "copa/best_option": (
        "The sun rose. \n\nWhat's the best option?\n- It was Time.\n- Rosa slept!\n\nWe are looking for  a cause\n"
        "Rosa slept!",
        "It rained?! \n\nWhat's the best option?\n- It was Time.\n- Rosa slept!\n\nWe are looking for  an effect\n"
        "Rosa slept!",
    ),
    "copa/exercise": (
        "Exercise: choose the most plausible alternative.\n\nThe sun rose.  because... \n"
        "- It was Time.\n- Rosa slept!\nRosa slept!",
        "Exercise: choose the most plausible alternative.\n\nIt rained?!  so... \n"
        "- It was Time.\n- Rosa slept!\nRosa slept!",
    ),
    "copa/i_am_hesitating": (
        "The sun rose. \n\nI am hesitating between two options. Help me choose the more likely  cause: \n"
        "- It was Time.\n- Rosa slept!\nRosa slept!",
        "It rained?! \n\nI am hesitating between two options. Help me choose the more likely  effect: \n"
        "- It was Time.\n- Rosa slept!\nRosa slept!",
    ),
    "copa/plausible_alternatives": (
        "The sun rose.  This happened because... \nHelp me pick the more plausible option:\n"
        "- It was Time.\n- Rosa slept!\nRosa slept!",
        "It rained?!  As a consequence... \nHelp me pick the more plausible option:\n"
        "- It was Time.\n- Rosa slept!\nRosa slept!",
    ),
    "copa/more_likely": (
        "Pick the more likely continuation to the following sentence:\nThe sun rose.  as a result of: \n"
        "- It was Time.\n- Rosa slept!\nRosa slept!",
        "Pick the more likely continuation to the following sentence:\nIt rained?!  as a consequence: \n"
        "- It was Time.\n- Rosa slept!\nRosa slept!",
    ),
    "copa/cause_effect": (
        "The sun rose.\n\nSelect the most plausible  cause: \n- It was Time.\n- Rosa slept!\nRosa slept!",
        "It rained?!\n\nSelect the most plausible  effect: \n- It was Time.\n- Rosa slept!\nRosa slept!",
    ),
    "copa/choose": (
        "The sun rose.  because... \nChoose between:\n- It was Time.\n- Rosa slept!\nRosa slept!",
        "It rained?!  so... \nChoose between:\n- It was Time.\n- Rosa slept!\nRosa slept!",
    ),
    "copa/c1_or_c2": (
        '"It was Time." or "Rosa slept!"? The sun rose.  because Rosa slept!',
        '"It was Time." or "Rosa slept!"? It rained?!  so Rosa slept!',
    ),
}
COPA_SOURCES = {
    "because": "surface-form-competition (Holtzman et al. 2021)",
    "therefore": "lm-evaluation-harness",
    "quoted": "PET (Schick",
    "plain": "PET (Schick",
}
OTHERS = {
    "generic/choices": (
        {"question": "Which is a colour?", "choices": ["red", "dog", ""]},
        "red",
        "",
        "Question: Which is a colour?\nChoices:\n- red\n- dog\nAnswer: red",
        None,
    ),
    "generic/answer": (  # the answer context of Brown et al.
        {"question": "Which is a colour?", "choices": ["red", "dog", ""]},
        "red",
        "",
        "Question: Which is a colour?\nAnswer: red",
        None,
    ),
    "rte/true_or_false": (  # lm-evaluation-harness
        {"text_a": "It rained all day.", "text_b": "It was wet."},
        "True",
        "",
        "It rained all day.\nQuestion: It was wet. True or False?\nAnswer: True",
        {"entailment": "True", "not_entailment": "False"},
    ),
    "emotion/express": (  # promptsource
        "I won!",
        "joy",
        "",
        "What emotion does the following message express? I won!\nEmotion: joy",
        None,
    ),
    "generic/entailment": (  # transformers' zero-shot-classification
        "I won!",
        "joy",
        "",
        "I won!\n\nThis example is joy.",
        None,
    ),
    "generic/masked": ("I won!", "joy", "", "I won! [ Category: joy ]", None),  # PET's bracket, after the text
    "generic/causal": (  # instruction after Zhao et al.
        "I won!",
        "joy",
        "Classify each text into one of these categories: joy, fear.\n\n",
        "Text: I won!\nCategory: joy",
        None,
    ),
}
ASKED_FOR = (
    "sst2 sst5 mr cr mpqa subj trec ag_news yahoo_answers yelp imdb dbpedia14 emotion amazon_reviews spam banking77 "
    "toxicity irony stance topic rte cb mnli snli qnli mrpc qqp boolq copa entity_typing"
)
GROUPS = {  # what a template's source begins with -> its templates
    "LM-BFF (Gao et al. 2021)": LM_BFF,
    "PET (Schick": PET,
    "Zhao et al. 2021": ZHAO,
    "kNN prompting (Xu et al. 2023)": KNN,
    "Channel-LM-Prompting (Min et al. 2022)": CHANNEL,
    "surface-form-competition (Holtzman et al. 2021)": HOLTZMAN,
    "OpenPrompt (Ding et al. 2022)": OPENPROMPT,
    "lm-evaluation-harness": HARNESS,
    "promptsource (Bach et al. 2022)": PROMPTSOURCE,
}
PUBLISHED = {name: row for group in (*GROUPS.values(), OTHERS) for name, row in group.items()}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_template_is_the_published_string(name):
    row, word, before, prompt, words = PUBLISHED[name]
    template = gallery.get(name)
    assert template.context(labels=["joy", "fear"]) == ((Turn("system", before),) if before else ())
    labels = () if template.choices else Verbalizer(words or ["joy", "fear"]).labels
    assert template.render(row, word, labels) == prompt
    assert template.words == words


@pytest.mark.parametrize("name", COPA)
def test_a_published_template_of_copa_is_the_published_string(name):
    template = gallery.get(name)
    assert template.choices == ("choice1", "choice2")
    for row, prompt in zip((SUN, RAIN), COPA[name], strict=True):
        assert template.render(row, template.choices_of(row)[1]) == prompt
    cited = COPA_SOURCES.get(name.removeprefix("copa/"), "promptsource (Bach et al. 2022)")
    assert template.metadata["source"].startswith(cited)


@pytest.mark.parametrize("cited", GROUPS)
def test_a_published_template_cites_its_paper(cited):
    for name in GROUPS[cited]:
        assert gallery.get(name).metadata["source"].startswith(cited)


def test_every_template_that_is_not_our_own_is_in_the_table():
    ours = {name for name in NAMES if gallery.get(name).metadata["source"] == "fewshot"}
    assert set(NAMES) - ours == {*PUBLISHED, *COPA}


def test_the_premise_that_was_published_with_a_template():
    published = {name: gallery.get(name).metadata.get("domain_premise") for name in NAMES}
    published = {name: premise for name, premise in published.items() if premise is not None}
    connective = " {{ 'because' if question == 'cause' else 'so' }} "
    assert published == {
        "sst5/tone": " The quote has a tone that is ",
        "copa/because": connective,
        "generic/answer": "Answer: ",
    }
    assert [gallery.get("copa/because").premise(row) for row in (SUN, RAIN)] == [" because ", " so "]


def test_the_gallery_is_as_large_as_it_says():
    tasks = {name.partition("/")[0] for name in NAMES}
    assert len(tasks) >= 25
    assert len(NAMES) >= 60
    assert tasks >= set(ASKED_FOR.split())


def test_names_are_the_files():
    files = [path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*") if path.is_file()]
    assert sorted(files) == NAMES
    assert gallery.names("sst2") == ["sst2/it_was", "sst2/review"]
    assert gallery.names("sst") == []


@pytest.mark.parametrize("name", NAMES)
def test_a_template_says_what_it_is_for(name):
    metadata = gallery.get(name).metadata
    assert metadata["task"] == name.partition("/")[0]
    for key in ("task", "description", "source"):
        assert metadata[key].strip() == metadata[key] != ""
    assert metadata["description"].endswith(".")
    assert metadata["licence"] in LICENCES  # of the source; "none stated" where its repository has none


@pytest.mark.parametrize("name", NAMES)
def test_the_words_of_the_classes_are_distinct_and_say_something(name):
    words = gallery.get(name).words
    if words is None:
        return
    assert all(type(given) is str and given == given.strip() != "" for given in words)
    groups = [[value] if isinstance(value, str) else value for value in words.values()]
    said = [word for group in groups for word in group]
    assert all(groups)
    assert all(type(word) is str and word == word.strip() != "" for word in said)
    assert len(set(said)) == len(said)
    Verbalizer(words)


@pytest.mark.parametrize("task", sorted({name.partition("/")[0] for name in NAMES}))
def test_the_templates_of_a_task_share_its_classes(task):
    """So that any of them can be compared, and several averaged."""
    sets = {frozenset(words) for name in gallery.names(task) if (words := gallery.get(name).words)}
    assert len(sets) <= (2 if task == "emotion" else 1)  # the four classes of TweetEval, the six of dair-ai/emotion


def rendering(name):
    """A template with every label word, as the snapshot keeps it."""
    template = gallery.get(name)
    row = {field: ROW[field] for field in template.fields}
    own = dict(enumerate(template.choices_of(row))) if template.choices else None
    verbalizer = Verbalizer(own or template.words or {"joy": "joy", "fear": "fear"})
    return {
        "before": "".join(turn.text for turn in template.context(labels=verbalizer.labels)),
        "separator": template.separator,
        "prompts": {
            f"{given}: {word}": template.render(row, word, verbalizer.labels)
            for given, words in zip(verbalizer.classes, verbalizer.words, strict=True)
            for word in words
        },
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_template_renders_as_the_snapshot_says(name):
    stored = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    assert name in stored, f"{name} is not in {SNAPSHOT.name}. If it is new, add it: {RENEW}"
    assert rendering(name) == stored[name], (
        f"{name} no longer renders as {SNAPSHOT.name} says. Cached scores and published results are of the old text. "
        f"If the change is meant: {RENEW}, then read the difference in git."
    )


def test_the_snapshot_holds_no_template_that_is_gone():
    gone = set(json.loads(SNAPSHOT.read_text(encoding="utf-8"))) - set(NAMES)
    assert not gone, f"{sorted(gone)} are in {SNAPSHOT.name} but not in the gallery. If that is meant: {RENEW}"


@pytest.mark.parametrize("name", NAMES)
def test_a_template_renders(name):
    template = gallery.get(name)
    fields = ("text", "text_a text_b", "text span", "text candidate", "question choices")
    copa = {"premise", "choice1", "choice2", "question"}
    assert set(template.fields) in (*({*names.split()} for names in fields), copa)
    row = {field: f"Nice {field} here." for field in template.fields if field not in ("choices", "question")}
    if template.choices == "choices":
        row |= {"question": "Nice question here.", "choices": ["A choice", "Another one"]}
    elif template.choices:
        row["question"] = "effect"
    own = dict(enumerate(template.choices_of(row))) if template.choices else None
    verbalizer = Verbalizer(own or template.words or {"a": "joy", "b": "fear"})
    head = "".join(turn.text for turn in template.context(labels=verbalizer.labels))
    assert head == "" or head.endswith(template.separator)
    for word in verbalizer.candidates:
        prompt = template.render(row, word, verbalizer.labels)
        assert prompt.count(word) == template.render(row, "", verbalizer.labels).count(word) + 1
        texts = [text for field, text in row.items() if field not in ("question", "choices", *(template.choices or ()))]
        assert all(text[1:-1] in prompt for text in texts)  # PET's take off the last mark, and the first capital
        assert prompt.strip() == prompt
        assert word in template.frame(word, verbalizer.labels)


@pytest.mark.parametrize("name", NAMES)
def test_every_template_marks_what_may_be_cut(name):
    assert "| shorten" in gallery.get(name).source


@pytest.mark.parametrize(
    ("name", "near"),
    [("sst2/itwas", "sst2/it_was"), ("agnews/article", "ag_news/article"), ("causal", "generic/causal")],
)
def test_an_unknown_name_suggests_those_near(name, near):
    with pytest.raises(TemplateError, match=rf"no template '{name}' in the gallery; near it: .*{near}"):
        gallery.get(name)


def test_a_name_near_nothing_lists_the_tasks():
    with pytest.raises(TemplateError, match=r"no template '0' in the gallery; its tasks: ag_news, .*, yelp\."):
        gallery.get("0")


@pytest.mark.parametrize("name", ["../x", "sst2/../sst2/review", "sst2/review.jinja", "/etc/passwd", "", "sst2", "."])
def test_a_path_is_no_name(name):
    with pytest.raises(TemplateError, match="There is no template"):
        gallery.get(name)


def test_a_template_carries_its_name_and_is_read_once():
    template = gallery.get("sst2/review")
    assert repr(template) == "Template('sst2/review')"
    assert gallery.get("sst2/review") is template
    assert template == Template.from_file(FOLDER / "sst2" / "review.jinja")


class _Cells(HTMLParser):
    """The texts of the cells of a table, row by row, and the tags."""

    def __init__(self, source):
        super().__init__()
        self.rows, self.tags = [], []
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_data(self, data):
        self.rows[-1][-1] += data


def test_a_table_of_a_task():
    table = gallery.table("sst2")
    long = "Two-way sentiment of a sentence, for masked language models; also published for MR, CR and MPQA."
    assert str(table).splitlines() == [
        "name         fields  classes             description",
        f"-----------  ------  ------------------  {'-' * len(long)}",
        f"sst2/it_was  text    negative, positive  {long}",
        "sst2/review  text    negative, positive  Two-way sentiment of a review, for causal language models.",
    ]
    assert repr(table) == str(table)


def test_the_table_has_every_template_and_its_html_says_the_same():
    table = gallery.table()
    assert [row.name for row in table] == NAMES
    assert len(table) == len(NAMES)
    cells = _Cells(table._repr_html_())
    assert cells.rows == [["name", "fields", "classes", "description"], *[list(row) for row in table]]
    assert set(cells.tags) == {"table", "thead", "tbody", "tr", "th", "td", "code"}
    by_name = {row.name: row for row in table}
    assert by_name["entity_typing/is"].fields == "text, span"
    assert by_name["topic/about"].classes == "any"
    assert by_name["banking77/intent"].classes.endswith(", … (77)")
    assert by_name["copa/because"].classes == "each row's choice1, each row's choice2"
    assert by_name["generic/choices"].classes == "each row's choices"
    assert by_name["mnli/maybe"].classes == "contradiction, entailment, neutral"


def test_html_is_escaped_and_leaves_colours_to_the_notebook():
    rows = (gallery.Row("<b>&'\"", "<script>", "a < b", "</td>"),)
    source = gallery.Table(rows)._repr_html_()
    assert _Cells(source).rows[1] == list(rows[0])
    assert "<script>" not in source
    assert "&amp;" in source
    for word in ("color", "background", "white", "black", "#", "rgb"):
        assert word not in gallery.table()._repr_html_().partition("<tbody>")[0]
    assert "color" not in source


def test_a_table_of_no_task_suggests_those_near():
    with pytest.raises(TemplateError, match=r"no task 'sst' in the gallery; near it: .*sst2"):
        gallery.table("sst")


if __name__ == "__main__":
    SNAPSHOT.write_text(
        json.dumps({name: rendering(name) for name in NAMES}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    sys.stdout.write(f"{SNAPSHOT}: {len(NAMES)} templates\n")
