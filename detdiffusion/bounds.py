"""How much may come in, in one place: docs/SECURITY.md has these figures as a table, and a test compares them."""

# --- over HTTP (app/serving) ---
BODY_BYTES = 10_000_000  # of one request: a form, a layout, an uploaded file
BODY_SECONDS = 60.0  # in which all of it has to come in
HEAD_SECONDS = 20.0  # in which the head of a request has to come in
PAGE_SESSIONS = 256  # that are remembered; the one that was used longest ago goes first
CONNECTIONS = 500  # at once; more are answered with 503
QUEUE_LENGTH = 16  # requests that wait for the model; more are refused with a message
LEAVING_SECONDS = 4.0  # that the studio takes to end, whatever it is at
LOGIN_TRIES = 3  # wrong passwords of one address that are answered at once
LOGIN_SECONDS = 8.0  # that the answer to a further wrong password takes at most
LOGIN_WAITING = 8  # logins of one address that may wait for each other

# --- layouts and their files ---
LAYOUT_OBJECTS = 100  # objects
LAYOUT_PIXELS = 25_000_000  # of an image that is asked for, or of a file that is opened
LAYOUT_CAPTION = 300  # characters of a caption
LAYOUT_BYTES = 1_000_000  # of a layout as JSON
LINK_BYTES = 100_000  # of a layout in a link, unpacked
LAYOUT_NAME = 60  # characters of the name of a saved layout
EXAMPLES = 100  # example layouts that a model folder brings
STUDIO_STEPS = 100  # of the sampler, for visitors of the studio; commands take more
STUDIO_SIZE = 4  # times the pixels of the model's own size, of an image that is drawn for them
STUDIO_GUIDANCE = 15.0  # the same of guidance
STUDIO_ATTRIBUTE_GUIDANCE = 4.0  # the same of attribute guidance, in both directions

# --- data sets and what describes them ---
CLASSES = 10_000  # classes of a data set
CLASS_NAME = 200  # characters of the name of a class
YAML_CHARACTERS = 4_000_000  # characters of all values, those that aliases repeat counted each time
IMAGES_OF_A_JOB = 100_000_000  # that one `generate` makes
JSON_ELEMENT = 33_554_432  # characters of one element of a large JSON list: an image's mask takes some thousands
PATH_LENGTH = 4096  # characters of a path
ZIP_FILES = 50_000  # files in a zip: of a checkpoint that is read, of a download that is written
