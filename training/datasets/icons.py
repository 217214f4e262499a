"""A labelled image set of plain black drawings: what apps put on their buttons, each thing drawn by many icon sets.

In: a folder that does not exist yet; npm, which downloads thirty icon packages at pinned versions.
Out: that folder: `<thing>/<style>.png` (128 px, transparent), `labels.csv`, `ATTRIBUTION.md` and `icons.json`.
A class is a thing, an image is one style's drawing of it. A set has up to two styles, lines and filled shapes.
Left out: things that fewer than four hands drew, and names that do not mean the same everywhere: brands, letters, most arrows.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from rich.progress import Progress

from . import iconify
from .iconify import Drawing, Fetch, IconSet, Package, Source, Summary, npm_pack

# Counts up with every change of the tables below: a folder made by others is refused then, not taken for complete.
FORMAT = 1
MIN_FAMILIES = 4

# mdi took over Google's drawings, and lucide those of feather: one hand.
# fmt: off
SETS = (
    IconSet("tabler", "1.2.41", "tabler", "MIT",
            "sha512-GHg+H/cnr0anaCoV383JONiOMxZQOdojWYNLgL3x0fRE07YW7c+AHiYmIhXet//oq26T830qitdP7l43ojiCXw=="),
    IconSet("ph", "1.2.2", "ph", "MIT",
            "sha512-PgkEZNtqa8hBGjHXQa4pMwZa93hmfu8FUSjs/nv4oUU6yLsgv+gh9nu28Kqi8Fz9CCVu4hj1MZs9/60J57IzFw=="),
    IconSet("mdi", "1.2.3", "material", "Apache-2.0",
            "sha512-O3cLwbDOK7NNDf2ihaQOH5F9JglnulNDFV7WprU2dSoZu3h3cWH//h74uQAB87brHmvFVxIOkuBX2sZSzYhScg=="),
    IconSet("lucide", "1.2.137", "feather", "ISC",
            "sha512-uKz1+tFbv1RFX/mJQNksdnyKJijNfRGSNnxfiyKtr+dLNfA3ERph+IgpXClKGOlV/5GsZwLv2jgJXQ/bjF/JAg=="),
    IconSet("fluent", "1.2.60", "fluent", "MIT",
            "sha512-+Tc4TcygQpzm2QNQ3v1/p5V+3OWczkJzKMqUw01pzGiIYLD85uhWPY4GaERkU0+J9J9ZqGQEWKSOk/qPL2ofsw=="),
    IconSet("solar", "1.2.13", "solar", "CC-BY-4.0",
            "sha512-/ZWb6xRib6pzxD/qTkKWYhuzSU2yu0bY+EN0spgtz1NM3d5f4eYueQZpL3PfCdsg5uVfm4Ldtt3cAyQL+YI8/Q=="),
    IconSet("material-symbols", "1.2.93", "material", "Apache-2.0",
            "sha512-IfbpRixmEdeBrl2Bc+RtNZGb3NcTnMiPP4WausCParQYpIdezEYYbgMggJC1cYzm1q0f77p53t5tppy9PWsrvQ=="),
    IconSet("mingcute", "1.2.8", "mingcute", "Apache-2.0",
            "sha512-J8VXpRwTpx5yzOzyhx3T4IXnfXIKTWFl3rZ9okcW4c+NMMuwkLvdmM4rkjB83tnYIhg5+kkeMpmw8tvSnxd4rQ=="),
    IconSet("ri", "1.2.10", "ri", "Apache-2.0",
            "sha512-WWMhoncVVM+Xmu9T5fgu2lhYRrKTEWhKk3Com0KiM111EeEsRLiASjpsFKnC/SrB6covhUp95r2mH8tGxhgd5Q=="),
    IconSet("hugeicons", "1.2.35", "hugeicons", "MIT",
            "sha512-c06tY90JZnKhOLBAKoQ1z2pqXMRdATuYXslTKwaaIAjLzKsTIsE+GGknY6+qo/SP0U/NG9xQjr4N+zfDqOeQiQ=="),
    IconSet("bi", "1.2.7", "bi", "MIT",
            "sha512-IPz8WNxmLkH1I9msl+0Q4OnmjjvP4uU0Z61a4i4sqonB6vKSbMGUWuGn8/YuuszlReVj8rf+3gNv5JU8Xoljyg=="),
    IconSet("carbon", "1.2.29", "carbon", "Apache-2.0",
            "sha512-whk3BOU2jXFtweigCrrrYXT7NzWXGUT1q268vEnySzhfdnwZhQhVlFjhkgZH86JRRx21/CziTmzpAJMe5V2yKQ=="),
    IconSet("iconoir", "1.2.11", "iconoir", "MIT",
            "sha512-clBrCsZPkmdksYOkufVp7aoAU1j1hFQPrLUooWWmoYIMvKskUHQ+IDnwV7agTR+tGYHbud7OP2SRfYEpnqFDNw=="),
    IconSet("tdesign", "1.2.19", "tdesign", "MIT",
            "sha512-YAEUidy7vJBAlGDMro1JWw5CZNO0EbeSb8SxNCsBuBq7hFtftlL2VhZac3EgHeTMMDf3OBfP/YwII7SIdb1d+w=="),
    IconSet("icon-park-outline", "1.2.4", "icon-park-outline", "Apache-2.0",
            "sha512-NyZxXe2gD2TbTOyoRRMdtEJhr6i2KQCdDlYYoOn5oZLndQjwpIhw79hzeFhXvP38/o40D3gQ+l+IaSJgbB+0TQ=="),
    IconSet("bx", "1.2.3", "bx", "MIT",
            "sha512-ihvX+2d688otgW7MAvUEdKVln+fZ28BJTlygazKUU/+RCODWT+2KObjAHe8+KPs4VhC8V6Tgoy1qrX0Myn/upA=="),
    IconSet("ion", "1.2.7", "ion", "MIT",
            "sha512-ZJNG5kLCbTPr68mdP0jx6Q3lB9AMEQKO2+VvIjuJ2llGFICBLD+cvESn/qGDRIqSfk2D3PrFMf/Qg8WKIUV7cg=="),
    IconSet("heroicons", "1.2.3", "heroicons", "MIT",
            "sha512-n+vmCEgTesRsOpp5AB5ILB6srsgsYK+bieoQBNlafvoEhjVXLq8nIGN4B0v/s4DUfa0dOrjwE/cKJgIKdJXOEg=="),
    IconSet("mynaui", "1.2.19", "mynaui", "MIT",
            "sha512-Nsoo0jaZLM7Ws45TDiSxBDGgWdbpwhLfgRil/5tQeDJykdtmS5ILZsJ6fkCS1iNXURghhAiLipb15A1d7IQcEQ=="),
    IconSet("uil", "1.2.3", "uil", "Apache-2.0",
            "sha512-if91+UBhDQc6glPsIaXecGIcXnbQZfEO4Gdv89TV2xQ+V5e9GWbY5rNl2fsKZd8COsRQ5lRQAKimVQVL0CZZVg=="),
    IconSet("fa6-solid", "1.2.4", "fa6-solid", "CC-BY-4.0",
            "sha512-LmDNNdJVyvF5mPm1yxWvL8KjCc/E8LzoqnF1LNTVpyY2ZJRUlGOWuPIThdbuFBF2IovgttkIyumhyqfmlHdwKg=="),
    IconSet("iconamoon", "1.2.2", "iconamoon", "CC-BY-4.0",
            "sha512-Xn7YeSDniPgutPr0qil/iQwQelq975OYQ/i2twGjcK4DjGOXBrBC+6q45WtVuQbFfXzM7bgijv4yVnxy0OqUdQ=="),
    IconSet("majesticons", "1.2.5", "majesticons", "MIT",
            "sha512-tj0ZTiYOkz8HC365x7Pj8vXCsHCjVuFXcwoFG0iuMlvLrHslVlFhSTLjt/x/5r0ciCrtA5tLGpbV1uG0fdC56g=="),
    IconSet("eva", "1.2.3", "eva", "MIT",
            "sha512-67nZvxOHdoV2SaTLBw+seq+pbfB8OFRB7CVNI5gGJCGPXJKniPo/x9H/dYGovxq7q+GU0NwKrPxBcHyEFDwSUw=="),
    IconSet("teenyicons", "1.2.2", "teenyicons", "MIT",
            "sha512-Do08DrvNpT+pKVeyFqn7nZiIviAAY8KbduSfpNKzE1bgVekAIJ/AAJtOBSUFpV4vTk+hXw195+jmCv8/0cJSKA=="),
    IconSet("octicon", "1.2.36", "octicon", "MIT",
            "sha512-YHlJokjC+uBj1kSd7+YTRMNIN85TvAGr4ZJVOHCTzj0nyH64ImXRIZmh4P6Nbv0RGDd7hS7+UwEDGchFgGxxVw=="),
    IconSet("akar-icons", "1.2.7", "akar-icons", "MIT",
            "sha512-cw44dCnZgGhm6Tywxm0WALAnDB9AyGkDk7kiLMo2B/Ayt7duZu/uyrsqb55weWUN8Ge2sQAOl8MRtT6bFcLzPg=="),
    IconSet("basil", "1.2.4", "basil", "CC-BY-4.0",
            "sha512-KUL5JBdFDF7APY8XiuqvfpiecIby8pIbs6rm3WLgdVDqMlKH0WcWEwd+ilANby8X3AuHQVrjNjByh9MpfAR3lQ=="),
    IconSet("feather", "1.2.1", "feather", "MIT",
            "sha512-gURNg2TJYuO1U7DoOGCylm9TwkMfzjOH2BHdWsE0IXLXj/MNkFIJu56Wu1xRws27M8hzDzUDt/biGUa/LfAjdg=="),
    IconSet("radix-icons", "1.2.6", "radix-icons", "MIT",
            "sha512-izgVBJwk37dSvsma1QsRMfCWQ4FIImbBmJId1WUURzRZA5fFyKlCcG/nZC8se0KhOBWszo2mYgLmhKJv/DFPoA=="),
)

# How each set names its lines and its filled shapes, the best first. A set that is not here has one style, named plainly.
VARIANTS: Mapping[str, tuple[str, str]] = {
    "basil": ("*-outline", "*-solid"),
    "bi": ("*", "*-fill"),
    "bx": ("*", "bxs-*"),
    "eva": ("*-outline", "*-fill"),
    "fluent": ("*-24-regular *-20-regular *-16-regular", "*-24-filled *-20-filled *-16-filled"),
    "heroicons": ("*", "*-solid"),
    "iconamoon": ("*", "*-fill"),
    "iconoir": ("*", "*-solid"),
    "ion": ("*-outline", "*"),
    "majesticons": ("*-line", "*"),
    "material-symbols": ("*-outline", "*"),
    "mdi": ("*-outline *", "*"),
    "mingcute": ("*-line", "*-fill"),
    "mynaui": ("*", "*-solid"),
    "octicon": ("*-24 *-16", "*-fill-24 *-fill-16"),
    "ph": ("*", "*-fill"),
    "ri": ("*-line", "*-fill"),
    "solar": ("*-linear", "*-bold"),
    "tabler": ("*", "*-filled"),
    "tdesign": ("*", "*-filled"),
    "teenyicons": ("*-outline", "*-solid"),
}

# Words that mean the same inside any name.
WORDS = {
    "account": "user", "person": "user", "email": "mail", "envelope": "mail", "house": "home", "add": "plus",
    "photo": "image", "picture": "image", "document": "file", "magnify": "search", "magnifier": "search",
    "magnifying": "search", "gear": "settings", "cog": "settings", "setting": "settings", "slash": "off",
    "xmark": "x",
}

# The things, each with the names it goes by, the surest first; none where that is its label. All were looked at.
THINGS = """
abacus activity=activity,pulse address-book=address-book,contacts airplane=airplane,plane
alarm=alarm-clock,clock-alarm,alarm alert-octagon=alert-octagon,octagon-alert ambulance american-football ampersand
anchor aperture archive armchair asterisk at=at,at-sign atom avocado award axe baby baby-bottle
baby-carriage=baby-carriage,stroller backpack backspace bag=shopping-bag,bag balloon ban=ban,prohibit,block banana
bandage=bandage,first-aid-bandage,band-aid bank barcode barrel baseball basket=basket,shopping-basket basketball bat
bath=bath,bathtub battery-charging battery-empty battery-full battery-low beach bed beer
bell-off=bell-off,notification-off bell-plus bell=bell,notification bicycle=bicycle,bike binoculars biohazard bird
blender bold=bold,text-bold,text-b bolt=zap,lightning,lightning-bolt,flash,bolt bomb bone book bookmark bookmark-check
bookmark-minus bookmark-off bookmark-plus bookmarks books boombox bottle bow-tie bowl bowling box=package,box
boxing-glove braces=braces,curly-braces,brackets-curly brain bread bridge briefcase
broken-heart=broken-heart,heart-broken,heart-crack,heart-break broom browser
brush=brush,paint-brush,paintbrush,paint-brush-household bucket=bucket,paint-bucket bug
building=building,office-building bulb-off=bulb-off,lightbulb-off bulb=bulb,lightbulb,light-bulb,idea bus butterfly
cable-car cactus cake calculator calendar calendar-check calendar-clock calendar-heart calendar-minus calendar-plus
calendar-search calendar-user calendar-x camera camera-off camera-plus camera-rotate=camera-rotate,camera-switch
campfire candle candy cannabis captions=closed-caption,closed-captioning car caravan carrot cart-check cart-minus
cart-plus=cart-plus,shopping-cart-plus cart=cart,shopping-cart cash=cash,banknote,money cast castle cat celsius chair
chart-area=chart-area,area-chart chart-bar=chart-bar,bar-chart chart-donut=chart-donut,donut-chart
chart-line=chart-line,line-chart chart-pie=chart-pie,pie-chart chart-radar=chart-radar,radar-chart
chart-scatter=chart-scatter,scatter-chart,scatter-plot check-circle=check-circle,checkmark-circle,tick-circle
check-square=check-square,checkbox check=checkmark,check,tick checkered-flag cheese chef-hat cherry
chess-king=chess-king,king chess-knight chess-pawn chess-queen chess-rook church cigarette=cigarette,smoking circle
circle-dashed circle-user=circle-user,user-circle clapperboard=clapperboard,movie-open clipboard clipboard-check
clipboard-list clipboard-minus clipboard-plus clipboard-x clock-plus clock=clock,time
close-circle=close-circle,circle-x,x-circle,dismiss-circle close=close,x,dismiss,times,x-mark cloud cloud-check
cloud-download cloud-fog=cloud-fog,fog cloud-lightning=cloud-lightning,thunderstorm,cloud-bolt cloud-minus cloud-moon
cloud-off cloud-plus cloud-rain cloud-snow cloud-sun=cloud-sun,partly-cloudy cloud-sync cloud-upload clover club code
code-file code-folder coffee coins command=command,cmd compass cone cookie cooking-pot copy copyleft copyright corn
cpu=cpu,processor crane credit-card credit-card-plus croissant crop crown cupcake cursor curtains=curtains,curtain
database database-plus database-search desk desk-lamp devices dice disc discount divide dna dog
dollar=dollar,dollar-sign,currency-dollar donut door door-open double-check=double-check,checks,check-all,check-double
download drone droplet=droplet,drop,water-drop dropper=dropper,eyedropper,eye-dropper,color-picker drum drumstick
dumbbell=dumbbell,barbell ear ear-off edit=edit,pencil,pen egg egg-fried eiffel-tower eject elevator
ellipsis-vertical=ellipsis-vertical,dots-vertical,more-vertical,dots-three-vertical
ellipsis=ellipsis,dots,more-horizontal,dots-horizontal engine equal-not=not-equal,equal-not,not-equals
equal=equal,equals eraser escalator-down escalator-up euro=euro,currency-euro,currency-eur
ev-station=ev-station,charging-station exclamation-circle=alert-circle,exclamation-circle,error-circle
external-link=external-link,link-external,open-in-new,external-link-square extinguisher=fire-extinguisher eye
eye-off=eye-off,eye-closed face-id face-mask factory fahrenheit fan fast-forward fax feather=feather,quill
female=gender-female,female-sign,venus,female-symbol fence ferris-wheel file-check file-image file-lock file-minus
file-music=file-music,file-audio file-pdf file-plus file-search file-settings file-spreadsheet file-star file-upload
file-user file-video file-x file-zip file=file,document film filter=funnel,filter
fingerprint=fingerprint,fingerprint-scan fire=fire,flame fish flag flag-off flashlight flask
floppy-disk=floppy-disk,device-floppy,floppy,diskette,save flower folder folder-check folder-heart folder-lock
folder-minus folder-music folder-open folder-plus folder-search folder-settings folder-star folder-upload folder-user
folder-x folder-zip folders fork-knife=fork-knife,utensils,restaurant,silverware-fork-knife,tools-kitchen-2 forklift
fridge=fridge,refrigerator fuel=fuel,gas-station,gas-pump fullscreen gamepad=gamepad,game-controller,controller garage
gauge=gauge,speedometer gavel ghost gif gift=gift,present git-branch git-commit git-compare git-fork git-merge
git-pull-request glass-water glasses globe-off globe=globe,world golf graduation-cap=graduation-cap,mortarboard grape
greater-than=greater-than,math-greater grid grip-vertical=grip-vertical,drag-vertical guitar hair-dryer
half-star=half-star,star-half hamburger=hamburger,burger hammer hand hand-heart handshake hanger=hanger,coat-hanger
hard-drive=hard-drive,hdd hard-hat=hard-hat,helmet hash=hash,hashtag,tag-hash hd hdr heading
headphones=headphones,headphone headset heart heart-minus heart-off heart-plus heart-pulse helicopter
help=help-circle,question-circle,circle-question,circle-help,help,question-mark-circle hexagon highlighter hiking
history home home-heart home-plus home-user home-wifi horse hospital hourglass hurricane ice-cream
id-card=id-card,identification-card image image-off image-plus image-search images inbox incognito infinity
info=info,info-circle,information-circle,information italic=italic,text-italic joystick kanban key keyboard keyboard-off
knife ladder lamp laptop lasso layers=layers,stack leaf
left-panel=left-panel,sidebar-left,layout-sidebar,layout-sidebar-left lemon less-than=less-than,math-lower
lifebuoy=lifebuoy,life-buoy,life-ring,lifebelt lighthouse link link-off=link-off,unlink list
list-ordered=list-ordered,ordered-list,list-numbers,list-ol loader=loader,spinner lock lock-open=lock-open,unlock
login=login,log-in logout=logout,log-out lollipop luggage=luggage,suitcase,suitcase-rolling lungs
magic-wand=magic-wand,wand magnet mail mail-minus mail-open mail-plus mail-search mailbox
male=gender-male,male-sign,mars,male-symbol map map-pin-plus=map-pin-plus,location-plus
map-pin=map-pin,location-pin,map-marker,location-dot,location martini=martini,cocktail medal
megaphone=megaphone,bullhorn meh=meh,face-meh,emoji-neutral,mood-neutral,face-neutral
menu=menu,bars,hamburger-menu,menu-hamburger message-off=message-off,chat-off,comment-off
message-plus=message-plus,chat-plus,comment-plus message=message,chat,comment meteor metronome
mic-off=mic-off,microphone-off mic=mic,microphone microscope microwave milk minus minus-circle minus-square monitor
monitor-off moon moon-stars mosque motorbike=motorbike,motorcycle mountain mouse mouse-off move mushroom
music=music,music-note navigation newspaper=newspaper,news note=note,sticky-note notebook octagon option outlet oven
palette palm-tree panda panorama paper-plane=paper-plane,send,telegram-plane paperclip=paperclip,attachment,attach
parachute paragraph=pilcrow,paragraph parallelogram parentheses=parentheses,brackets-round parking
party-popper=party-popper,confetti passport pause pause-circle paw=paw,paw-print peace pencil-ruler pentagon
percent=percent,percentage perfume phone-incoming=phone-incoming,phone-call-incoming,call-incoming,incoming-call
phone-missed=phone-missed,call-missed phone-off=phone-off,phone-slash,call-end
phone-outgoing=phone-outgoing,call-outgoing phone-plus=call-plus,phone-plus phone=telephone,call,phone piano
picnic-table piggy-bank pill=pill,capsule pin=push-pin,pushpin,thumbtack,pin pinwheel pizza planet
plant=plant,sprout,seedling,potted-plant play play-circle playlist plug plus plus-circle plus-minus plus-square podcast
popcorn popsicle pound=currency-pound,pound-sterling,sterling-sign,pound-sign,currency-gbp power prescription
presentation printer=printer,print projector pumpkin puzzle=puzzle,puzzle-piece,extension pyramid qr-code
quote=quote,quotes,format-quote rabbit radar radiation=radiation,radioactive rainbow receipt recycle redo
refresh=refresh,reload,sync,arrows-clockwise registered repeat repeat-once reply reply-all rewind road robot=robot,bot
rocket router rss ruler rupee=currency-rupee,rupee,currency-inr sad=sad,frown,face-sad safe=safe,vault sailboat sandwich
satellite sausage scales=scales,scale-balance,balance-scale,scale-balanced,law,balance scissors=scissors,cut screwdriver
sd-card=sd-card,sd search-minus=zoom-out,search-minus search-plus=zoom-in,search-plus
search=search,search-glass,glass-search server settings shapes
share-nodes=share-nodes,share-network,social-share,share-variant shield shield-check shield-half shield-lock
shield-minus shield-off shield-plus shield-star shield-user shield-x ship shirt=shirt,t-shirt shovel shower shredder
shrimp shuffle signature signpost sim-card=sim-card,sim siren sitemap skateboard
skip-back=skip-back,skip-previous,previous,player-skip-back,backward-step
skip-forward=skip-forward,skip-next,next,player-skip-forward,forward-step skull
sliders=sliders,sliders-horizontal,adjustments-horizontal,tune smartphone=smartphone,device-mobile,phone-portrait,mobile
smile=smile,smiley,face-smile,emoji-happy,emoji-smile,mood-smile sneaker=sneaker,shoe,sneakers snowflake snowman
soccer=soccer,soccer-ball,ball-football,futbol sofa=sofa,couch solar-panel spade sparkles=sparkles,sparkle speaker spoon
square stairs stamp star star-off steering-wheel stethoscope sticker stop-circle stopwatch=stopwatch,timer
store=store,shop,storefront strikethrough=strikethrough,text-strikethrough subscript=subscript,text-subscript subtitles
sun sunglasses sunrise sunset superscript=superscript,text-superscript sword swords syringe table tablet tag tags tank
target taxi telescope tent terminal test-tube thermometer=thermometer,temperature thumbs-down=thumbs-down,thumb-down
thumbs-up=thumbs-up,thumb-up ticket tilde toggle-left=toggle-left,toggle-off toggle-right=toggle-right,toggle-on toilet
toilet-paper=toilet-paper,paper-toilet toolbox tooth tornado tractor trademark traffic-cone
traffic-light=traffic-light,traffic-lights train translate=translate,language
trash=trash,trash-can,delete-bin,bin,trash-empty,trash-bin,trash-bin-trash,delete treadmill treasure-chest tree
trending-down=trending-down,trend-down trending-up=trending-up,trend-up triangle trophy=trophy,cup-star truck tsunami
tv=tv,television ufo umbrella umbrella-off underline=underline,text-underline undo upload user user-check user-edit
user-lock user-minus user-off user-plus user-search user-settings user-star user-x
users=users,people,user-group,account-group,user-multiple,users-group-rounded variable vest vibrate video-off video-plus
video=video-camera,camera-video,videocam,video virus voicemail volleyball
volume-down=volume-low,volume-down,volume-1,speaker-low
volume-off=volume-off,volume-mute,speaker-x,speaker-mute,volume-x
volume-up=volume-up,volume-high,volume-2,speaker-high,volume-loud wallet wardrobe=wardrobe,closet
warning=alert-triangle,warning,exclamation-triangle,triangle-alert,triangle-exclamation,danger-triangle washing-machine
watch=watch,watch-square wave-sine=sine-wave,wave-sine waves webcam webhook weight wheat wheel wheelchair whistle wifi
wifi-off wind wine=wine,wine-glass wrench x-octagon x-square=x-square,square-x,close-square,close-box
yen=currency-yen,yen,currency-jpy yin-yang zodiac-aquarius zodiac-aries zodiac-cancer zodiac-capricorn zodiac-gemini
zodiac-leo zodiac-libra zodiac-pisces zodiac-sagittarius zodiac-scorpio zodiac-virgo
"""

# Things that the icons of these names do not show, by set or, where only one is wrong, by style.
NOT_SHOWN: Mapping[str, str] = {
    "akar-icons": "box video",
    "basil": "plus",
    "bi": "cast server",
    "bx": "joystick map wardrobe",
    "carbon": "anchor box key map router soccer user users warning",
    "eva": "pin",
    "fluent": "navigation speaker",
    "hugeicons": "award grid menu moon plus-minus redo safe shapes undo",
    "icon-park-outline": "anchor ban compass copyright fan heart link list magic-wand mail monitor phone plus pound rss "
        "scales skip-forward tag telescope undo users video waves",
    "iconamoon": "download upload",
    "iconoir": "close divide trademark",
    "ion": "server",
    "material-symbols": "chair filter pin satellite tag video",
    "mdi": "meteor router satellite spade",
    "mingcute": "ellipsis ellipsis-vertical floppy-disk shield warning",
    "mynaui": "redo undo user-search",
    "octicon": "quote shield video",
    "ph-filled": "check close minus plus",
    "radix-icons": "box moon video",
    "ri": "bell blender flashlight sword video",
    "solar": "bolt magic-wand palette",
    "tabler": "dumbbell",
    "tdesign": "discount menu tv",
    "teenyicons": "map-pin",
    "uil": "close grid power redo soccer",
}
# fmt: on


def plain(name: str) -> str:
    """A name without the order of its words, and with one word for each meaning."""
    return " ".join(sorted(WORDS.get(word, word) for word in name.split("-")))


def things() -> dict[str, list[str]]:
    """The plain names of each label, the surest first."""
    entries = (entry.partition("=") for entry in THINGS.split())
    return {label: [plain(name) for name in (names or label).split(",")] for label, _, names in entries}


def bases(package: Package, pattern: str) -> Iterator[tuple[int, str, str]]:
    """(rank, plain name, icon) of the icons that are named by `pattern`; of several that are numbered, the first."""
    before, _, after = pattern.partition("*")
    for icon in sorted(package.drawings):
        if icon.startswith(before) and icon.endswith(after) and len(icon) > len(before + after):
            name = icon[len(before) : len(icon) - len(after)]
            unnumbered = re.sub(r"-(0?1|one)$", "", name)
            yield int(unnumbered != name), plain(unnumbered), icon


def known_as(package: Package, patterns: str) -> dict[str, str]:
    """Icons by plain name: the first pattern that has it, and in it a name without a number."""
    known: dict[str, str] = {}
    for pattern in patterns.split():
        for _, name, icon in sorted(bases(package, pattern)):
            known.setdefault(name, icon)
    return known


def styles(icon_set: IconSet) -> dict[str, str]:
    """The patterns of each style of a set."""
    if icon_set.style not in VARIANTS:
        return {icon_set.style: "*"}
    lines, filled = VARIANTS[icon_set.style]
    return {icon_set.style: lines, f"{icon_set.style}-filled": filled}


def find_drawings(packages: list[Package]) -> list[Drawing]:
    """One drawing a style of every thing that enough hands drew."""
    drawings = []
    for package in packages:
        for style, patterns in styles(package.icon_set).items():
            known = known_as(package, patterns)
            wrong = " ".join(NOT_SHOWN.get(key, "") for key in {package.icon_set.style, style}).split()
            for label, names in things().items():
                icon = next((known[name] for name in names if name in known), None)
                if icon and label not in wrong:
                    name = label.replace("-", " ")
                    drawings.append(Drawing(label, style, name, package.drawings[icon], package.icon_set))
    return with_enough_families(drawings)


def without_twins(drawings: Iterable[Drawing]) -> list[Drawing]:
    """Each picture once: the first style of a class that has it; in no class if several have it."""
    drawings = list(drawings)
    labels: dict[str, set[str]] = defaultdict(set)
    for drawing in drawings:
        labels[drawing.digest].add(drawing.label)
    kept: dict[str, Drawing] = {}
    for drawing in drawings:
        if len(labels[drawing.digest]) == 1:
            kept.setdefault(drawing.digest, drawing)
    return list(kept.values())


def with_enough_families(drawings: Iterable[Drawing]) -> list[Drawing]:
    drawings = list(drawings)
    families: dict[str, set[str]] = defaultdict(set)
    for drawing in drawings:
        families[drawing.label].add(drawing.icon_set.family)
    return [drawing for drawing in drawings if len(families[drawing.label]) >= MIN_FAMILIES]


def build(to: Path, *, progress: Progress | None = None, sets: tuple[IconSet, ...] = SETS, fetch: Fetch = npm_pack) -> Summary:
    """Download, draw and label the icons into `to`, all of them or nothing.

    A complete folder is left as it is. Raises DataError, in one sentence, for anything that stands in the way.
    """
    source = Source("icons", "thing", FORMAT, sets, find_drawings, without_twins, with_enough_families)
    return iconify.build(to, source, progress, fetch)
