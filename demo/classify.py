"""What a user does with the download: stock transformers, and nothing of layercut.

``python classify.py FOLDER '[["a text"], ["a pair", "of texts"]]'`` prints a label and its probability for each.
"""

import json
import sys

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

folder, texts = sys.argv[1], json.loads(sys.argv[2])
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
for text in texts:
    with torch.inference_mode():
        probabilities = model(**tokenizer(*text, return_tensors="pt")).logits.softmax(-1)[0]
    best = int(probabilities.argmax())
    print(json.dumps({"text": text, "label": model.config.id2label[best], "probability": float(probabilities[best])}))
